{{ config(meta={"slice_zone": "UTC"}) }}

-- Every week, whether or not its reading came in.
with forecasts as (

    select
        'mlo' as station_id,
        strftime(starts_at at time zone 'UTC', '%Y-%m-%d') as partition_key,
        starts_at + interval 6 day as decided_at,
        (starts_at + interval 33 day) at time zone 'UTC' as target_on,
        2 * pi() * dayofyear(target_on) / 365.25 as season
    from (select {{ ticks(slice_start(), slice_end(), "7 day") }} as starts_at) as weeks

)

select
    station_id || '-' || partition_key as forecast_id,
    partition_key,
    station_id,
    decided_at,
    target_on::timestamptz as target_at,
    month(target_on) as target_month,
    sin(season) as season_sin,
    cos(season) as season_cos,
    sin(2 * season) as half_year_sin,
    cos(2 * season) as half_year_cos,
    sin(3 * season) as third_year_sin,
    cos(3 * season) as third_year_cos
from forecasts
