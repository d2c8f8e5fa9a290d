{% set windows = [2, 6, 24] %}

with departures as (

    select
        origin,
        carrier,
        {{ tick_after("departed_at") }} as event_at,
        count(*) as events,
        sum(departure_delay_min) as delay_min,
        count(*) filter (departure_delay_min >= 15) as late,
        max(corrected_at) as corrected_at
    from {{ ref('int_flights_timed') }}
    where departed_at > {{ slice_start() }} - interval 24 hour and departed_at < {{ slice_end() }}
    group by all

),

spine as (

    select distinct origin, carrier, event_at, true as is_tick
    from {{ ref('int_decision_ticks') }}
    where event_at >= {{ slice_start() }} and event_at < {{ slice_end() }}

),

windows as (

    select
        origin,
        carrier,
        event_at,
        is_tick,
        {{ count_mean_share("departure", windows, "hour") }},
        greatest(event_at, max(corrected_at) over last_24h) as created_at
    from (from departures union all by name from spine) as events_and_ticks
    window {{ frames("origin, carrier", windows, "hour") }}

)

select * exclude (is_tick)
from windows
where is_tick
