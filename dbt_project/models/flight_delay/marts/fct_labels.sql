{% set zone = "America/New_York" %}
{% set lookback_days = 2 %}
{{ config(meta={"slice_zone": zone, "slice_lookback_days": lookback_days}) }}

with newest as (

    -- What lands after the labels of the newest service date closed is not known yet.
    select (max(partition_key)::date + 1)::timestamp at time zone '{{ zone }}' + interval 8 hour as closed_at
    from {{ ref('int_flights_timed') }}

),

outcomes as (

    select
        flights.* replace (
            case when arrived_at > newest.closed_at then 'pending' else flight_status end as flight_status
        )
    from {{ ref('int_flights_timed') }} as flights
    cross join newest
    where partition_key {{ slice_keys(zone, lookback_days) }}

)

select
    flight_id,
    partition_key,
    flight_status,
    flight_status <> 'cancelled' as has_departed,
    case when flight_status = 'completed' then (arrival_delay_min >= 15)::integer end as is_late,
    case when flight_status = 'completed' then arrival_delay_min end as arrival_delay_min,
    case when flight_status = 'completed' then greatest(arrived_at, corrected_at) end as label_known_at,
    corrected_at
from outcomes
