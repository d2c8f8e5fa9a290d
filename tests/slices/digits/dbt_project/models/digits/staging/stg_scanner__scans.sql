{{ config(meta={"slice_zone": "UTC", "slice_format": "%Y-%m-%dT%HZ"}) }}

select
    scan_id,
    partition_key,
    scanned_at::timestamptz as scanned_at,
    desk,
    {% for number in range(8) %}
    row_{{ number }} as row_{{ number }}_ink,
    column_{{ number }} as column_{{ number }}_ink,
    {% endfor %}
    digit,
    read_at::timestamptz as read_at,
    corrected_at
from {{ source('scanner', 'scans') }}
