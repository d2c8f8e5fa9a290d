{% set lookback_days = 28 %}
{{ config(meta={"slice_zone": "UTC", "slice_lookback_days": lookback_days}) }}

with readings as (

    -- The earliest target is that of four weeks before the slice.
    select * from {{ ref('stg_noaa__readings') }}
    where partition_key >= strftime({{ slice_start() }} at time zone 'UTC', '%Y-%m-%d')

),

targets as (

    select *, strftime(date_trunc('week', target_at at time zone 'UTC'), '%Y-%m-%d') as target_key
    from {{ ref('fct_forecasts') }}
    where partition_key {{ slice_keys("UTC", lookback_days) }}

)

select
    forecast_id,
    targets.partition_key,
    -- A gap has a row; a week without one is still to come, or lost.
    readings.partition_key is null or co2_ppm is not null as is_expected,
    co2_ppm,
    case when co2_ppm is not null then greatest(known_at, corrected_at) end as label_known_at
from targets
left join readings
    on readings.station_id = targets.station_id and readings.partition_key = target_key
