{{ config(pre_hook="{{ delete_slice_by_time() }}") }}

-- A snapshot each day at 09:00 UTC over the arrivals of the 28 days before it.
{% set snapshot_hour = "interval 9 hour" %}
{% set prior_flights = 50 %}

with arrivals as (

    select
        carrier,
        scheduled_hour,
        time_bucket(interval 1 day, arrived_at - {{ snapshot_hour }} - interval 1 microsecond)
            + interval 1 day + {{ snapshot_hour }} as event_at,
        count(*) as arrivals,
        sum(arrival_delay_min) as delay_min,
        sum(is_late) as late,
        max(corrected_at) as corrected_at
    from {{ ref('fct_flights') }}
    where arrived_at > {{ slice_start() }} - interval 29 day and arrived_at <= {{ slice_end() }}
    group by all

),

spine as (

    select pairs.carrier, pairs.scheduled_hour, days.event_at
    from (select distinct carrier, scheduled_hour from arrivals) as pairs
    cross join (
        select unnest(generate_series(
            time_bucket(interval 1 day, {{ slice_start() }}) - interval 29 day + {{ snapshot_hour }},
            {{ slice_end() }},
            interval 1 day
        )) as event_at
    ) as days

),

windows as (

    select
        carrier,
        scheduled_hour,
        event_at,
        sum(arrivals) over last_28d as arrivals,
        sum(delay_min) over last_28d as delay_min,
        sum(late) over last_28d as late,
        max(corrected_at) over last_28d as corrected_at
    from spine
    left join arrivals using (carrier, scheduled_hour, event_at)
    window last_28d as (
        partition by carrier, scheduled_hour order by event_at
        range between interval 27 day preceding and current row
    )

)

select
    carrier,
    scheduled_hour,
    event_at,
    arrivals::bigint as arrival_count_28d,
    delay_min / arrivals as arrival_delay_mean_28d_min,
    -- Shrunk towards the share of all flights: a pair may have had two flights in a month.
    (late + {{ prior_flights }} * sum(late) over snapshot / sum(arrivals) over snapshot)
        / (arrivals + {{ prior_flights }}) as arrival_late_share_28d,
    greatest(event_at, corrected_at) as created_at
from windows
where arrivals > 0 and event_at >= {{ slice_start() }} and event_at < {{ slice_end() }}
window snapshot as (partition by event_at)
