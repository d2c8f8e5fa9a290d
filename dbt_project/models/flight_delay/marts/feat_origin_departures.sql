{% set windows = [1, 2, 6] %}

with departures as (

    select
        origin,
        {{ tick_after("departed_at") }} as event_at,
        count(*) as events,
        sum(departure_delay_min) as delay_min,
        count(*) filter (departure_delay_min >= 15) as late,
        max(corrected_at) as corrected_at
    from {{ ref('int_flights_timed') }}
    where departed_at > {{ slice_start() }} - interval 6 hour and departed_at < {{ slice_end() }}
    group by all

),

spine as (

    -- The contract's airports: which of them have flights so far must not decide on a row.
    select origins.origin, ticks.event_at, true as is_tick
    from (select unnest(['EWR', 'JFK', 'LGA']) as origin) as origins
    cross join (select {{ ticks(slice_start(), slice_end()) }} as event_at) as ticks

),

windows as (

    select
        origin,
        event_at,
        is_tick,
        {{ count_mean_share("departure", windows, "hour") }},
        greatest(event_at, max(corrected_at) over last_6h) as created_at
    from (from departures union all by name from spine) as events_and_ticks
    window {{ frames("origin", windows, "hour") }}

)

select * exclude (is_tick)
from windows
where is_tick
