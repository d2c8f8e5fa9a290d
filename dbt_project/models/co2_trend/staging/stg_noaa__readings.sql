{{ config(meta={"slice_zone": "UTC"}) }}

select
    'mlo' as station_id,
    partition_key,
    date::timestamptz as read_at,
    date::timestamptz + interval 1 day as known_at,
    co2 as co2_ppm,
    corrected_at
from {{ source('noaa', 'readings') }}
