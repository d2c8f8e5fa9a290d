{{ config(pre_hook="{{ delete_slice_by_time() }}") }}

-- Windows (t - w, t] at 15-minute ticks: each departure is counted at the first tick not before it,
-- so a window is a frame over ticks. Exact, and without a join of ranges.
with departures as (

    select
        origin,
        time_bucket(interval 15 minute, departed_at - interval 1 microsecond) + interval 15 minute as event_at,
        count(*) as departures,
        sum(departure_delay_min) as delay_min,
        count(*) filter (departure_delay_min >= 15) as late,
        max(corrected_at) as corrected_at
    from {{ ref('fct_flights') }}
    where departed_at > {{ slice_start() }} - interval 6 hour and departed_at <= {{ slice_end() }}
    group by all

),

spine as (

    select origins.origin, ticks.event_at
    from (select distinct origin from {{ ref('fct_flights') }}) as origins
    cross join (
        select unnest(generate_series(
            {{ slice_start() }} - interval 6 hour, {{ slice_end() }} - interval 15 minute, interval 15 minute
        )) as event_at
    ) as ticks

),

windows as (

    select
        origin,
        event_at,
        {% for hours in [1, 2, 6] %}
            coalesce(sum(departures) over last_{{ hours }}h, 0)::bigint as departure_count_{{ hours }}h,
            sum(delay_min) over last_{{ hours }}h / sum(departures) over last_{{ hours }}h
                as departure_delay_mean_{{ hours }}h_min,
            sum(late) over last_{{ hours }}h / sum(departures) over last_{{ hours }}h
                as departure_late_share_{{ hours }}h,
        {% endfor %}
        greatest(event_at, max(corrected_at) over last_6h) as created_at
    from spine
    left join departures using (origin, event_at)
    window
        {% for hours in [1, 2, 6] %}
            last_{{ hours }}h as (
                partition by origin order by event_at
                range between interval {{ hours * 60 - 15 }} minute preceding and current row
            ){{ "," if not loop.last }}
        {% endfor %}

)

select *
from windows
where event_at >= {{ slice_start() }}
