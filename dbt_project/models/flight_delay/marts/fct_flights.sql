{% set zone = "America/New_York" %}
{{ config(meta={"slice_zone": zone}) }}

select
    flight_id,
    partition_key,
    carrier,
    flight_number,
    origin,
    destination,
    scheduled_hour,
    scheduled_minute,
    day_of_week,
    distance_miles,
    scheduled_departure_at,
    decided_at
from {{ ref('int_flights_timed') }}
where partition_key {{ slice_keys(zone) }}
