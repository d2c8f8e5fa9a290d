-- Sparse features are computed where a decision looks: all ticks would be up to ten times as many rows.
select distinct
    partition_key,
    origin,
    carrier,
    destination,
    time_bucket(interval 15 minute, decided_at) as event_at
from {{ ref('int_flights_timed') }}
