{{ config(meta={"slice_zone": "UTC", "slice_format": "%Y-%m-%dT%HZ"}) }}

select
    scan_id,
    partition_key,
    desk,
    scanned_at as decided_at,
    {% for number in range(8) %}
    column_{{ number }}_ink{{ "," if not loop.last }}
    {% endfor %}
from {{ ref('stg_scanner__scans') }}
where partition_key {{ slice_keys("UTC", 0, "%Y-%m-%dT%HZ") }}
