{{ config(meta={"slice_zone": "America/New_York"}) }}

select
    origin,
    partition_key,
    time_hour::timestamptz as observed_hour_at,
    temp as temperature_f,
    dewp as dew_point_f,
    humid as humidity_pct,
    wind_dir as wind_direction_deg,
    wind_speed as wind_speed_mph,
    coalesce(wind_gust, 0) as wind_gust_mph,  -- the source leaves it empty if there are no gusts
    precip as precipitation_in,
    pressure as pressure_mbar,
    visib as visibility_mi,
    corrected_at
from {{ source('nycflights13', 'weather') }}
