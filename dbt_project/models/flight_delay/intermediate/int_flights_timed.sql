{% set zone = "America/New_York" %}
{{ config(materialized="incremental", meta={"slice_zone": zone}) }}

with flights as (

    select flights.*, airports.time_zone
    from {{ ref('stg_nycflights13__flights') }} as flights
    left join {{ ref('stg_nycflights13__airports') }} as airports
        on flights.destination = airports.airport_id
    where flights.partition_key {{ slice_keys(zone) }}

),

local_arrivals as (

    select
        *,
        -- The date is not given: the first such local time after the scheduled departure.
        date_trunc('day', scheduled_departure_at at time zone time_zone)
            + to_minutes((scheduled_arrival_hhmm // 100) * 60 + scheduled_arrival_hhmm % 100) as same_day
    from flights

),

arrivals as (

    select
        *,
        case
            when same_day at time zone time_zone > scheduled_departure_at then same_day at time zone time_zone
            else (same_day + interval 1 day) at time zone time_zone
        end as scheduled_arrival_at
    from local_arrivals

)

select
    flight_id,
    partition_key,
    carrier,
    flight_number,
    tail_number,
    origin,
    destination,
    scheduled_hour,
    scheduled_minute,
    day_of_week,
    distance_miles,
    scheduled_departure_at,
    scheduled_departure_at - interval 2 hour as decided_at,
    scheduled_arrival_at,
    date_diff('minute', scheduled_departure_at, scheduled_arrival_at) as scheduled_block_min,
    scheduled_departure_at + to_minutes(departure_delay_min) as departed_at,
    departure_delay_min,
    -- Never from the local time of landing: its date would be a guess, a flight may be a day late.
    scheduled_arrival_at + to_minutes(arrival_delay_min) as arrived_at,
    arrival_delay_min,
    air_time_min,
    case
        when departure_delay_min is null then 'cancelled'
        when arrival_delay_min is null then 'diverted'
        else 'completed'
    end as flight_status,
    corrected_at
from arrivals
