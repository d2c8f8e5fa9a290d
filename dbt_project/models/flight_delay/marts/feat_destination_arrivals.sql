{% set windows = [3, 12] %}

with arrivals as (

    select
        destination,
        {{ tick_after("arrived_at") }} as event_at,
        count(*) as events,
        sum(arrival_delay_min) as delay_min,
        count(*) filter (arrival_delay_min >= 15) as late,
        max(corrected_at) as corrected_at
    from {{ ref('int_flights_timed') }}
    where arrived_at > {{ slice_start() }} - interval 12 hour and arrived_at < {{ slice_end() }}
    group by all

),

spine as (

    select distinct destination, event_at, true as is_tick
    from {{ ref('int_decision_ticks') }}
    where event_at >= {{ slice_start() }} and event_at < {{ slice_end() }}

),

windows as (

    select
        destination,
        event_at,
        is_tick,
        {{ count_mean_share("arrival", windows, "hour") }},
        greatest(event_at, max(corrected_at) over last_12h) as created_at
    from (from arrivals union all by name from spine) as events_and_ticks
    window {{ frames("destination", windows, "hour") }}

)

select * exclude (is_tick)
from windows
where is_tick
