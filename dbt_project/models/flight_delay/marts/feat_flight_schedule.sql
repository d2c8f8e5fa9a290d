{% set zone = "America/New_York" %}
{{ config(meta={"slice_zone": zone}) }}

with flights as (

    select *
    from {{ ref('int_flights_timed') }}
    where partition_key {{ slice_keys(zone) }}

),

holidays as (

    select partition_key, min(abs(date_diff('day', partition_key::date, holiday_date))) as days_to_holiday
    from (select distinct partition_key from flights) as dates
    cross join {{ ref('us_holidays') }}
    group by all

)

select
    flight_id,
    partition_key,
    scheduled_departure_at - interval 36 hour as event_at,  -- schedules are published well ahead
    scheduled_minute,
    scheduled_hour,
    day_of_week,
    distance_miles,
    scheduled_block_min,
    count(*) over (
        same_day order by scheduled_departure_at
        range between interval 60 minute preceding and interval 1 minute preceding
    ) as scheduled_count_prev_60min,
    count(*) over (
        same_day order by scheduled_departure_at
        range between interval 15 minute preceding and interval 15 minute following
    ) as scheduled_count_near_15min,
    count(*) over (
        same_day order by scheduled_departure_at
        range between current row and interval 60 minute following
    ) as scheduled_count_next_60min,
    count(*) over same_day as scheduled_count_day,
    count(*) over (partition by origin, partition_key, carrier) as scheduled_count_day_carrier,
    days_to_holiday,
    greatest(scheduled_departure_at - interval 36 hour, max(corrected_at) over same_day) as created_at
from flights
inner join holidays using (partition_key)
window same_day as (partition by origin, partition_key)
