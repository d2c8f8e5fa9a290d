with observations as (

    select
        *,
        -- An observation of hour h is taken up to h:51, so it is known at h + 1.
        observed_hour_at + interval 1 hour as event_at,
        -- In an order: without one, DuckDB would join with what it reads from all files.
        min(visibility_mi) over (partition by observed_hour_at order by partition_key) as visibility_min_city_mi,
        max(corrected_at) over (partition by observed_hour_at order by partition_key) as city_corrected_at
    from {{ ref('stg_nycflights13__weather') }}
    where partition_key {{ slice_keys("UTC", 1) }}

)

select
    origin,
    event_at,
    visibility_mi,
    visibility_min_city_mi,
    humidity_pct,
    dew_point_spread_f,
    wind_speed_mph,
    wind_east_mph,
    wind_north_mph,
    precipitation_in,
    pressure_mbar,
    {% for hours in [3, 6, 24] %}
    min(visibility_mi) over last_{{ hours }}h as visibility_min_{{ hours }}h_mi,
    -- As decimals: a sum of doubles depends on their order.
    avg(visibility_mi::decimal(9, 4)) over last_{{ hours }}h as visibility_mean_{{ hours }}h_mi,
    min(dew_point_spread_f) over last_{{ hours }}h as dew_point_spread_min_{{ hours }}h_f,
    (sum(precipitation_in::decimal(9, 4)) over last_{{ hours }}h)::double as precipitation_sum_{{ hours }}h_in,
    pressure_mbar - first_value(pressure_mbar ignore nulls) over last_{{ hours }}h as pressure_trend_{{ hours }}h_mbar,
    {% endfor %}
    greatest(event_at, max(city_corrected_at) over last_24h) as created_at
from observations
window {{ frames("origin", [3, 6, 24], "hour", "1 hour") }}
qualify event_at >= {{ slice_start() }} and event_at < {{ slice_end() }}
