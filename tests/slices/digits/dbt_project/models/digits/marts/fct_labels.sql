{{ config(meta={"slice_zone": "UTC", "slice_format": "%Y-%m-%dT%HZ", "slice_lookback_days": 1}) }}

with newest as (

    -- What is read two hours after the end of the newest hour is not known yet.
    select strptime(max(partition_key), '%Y-%m-%dT%HZ') at time zone 'UTC' + interval 3 hour as closed_at
    from {{ ref('stg_scanner__scans') }}

)

select
    scan_id,
    partition_key,
    case when read_at <= closed_at then digit end::integer as digit,
    case when read_at <= closed_at then greatest(read_at, corrected_at) end as label_known_at
from {{ ref('stg_scanner__scans') }}
cross join newest
where partition_key {{ slice_keys("UTC", 1, "%Y-%m-%dT%HZ") }}
