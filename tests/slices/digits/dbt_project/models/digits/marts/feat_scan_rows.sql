select
    scan_id,
    scanned_at as event_at,
    {% for number in range(8) %}
    row_{{ number }}_ink,
    {% endfor %}
    greatest(scanned_at, corrected_at) as created_at
from {{ ref('stg_scanner__scans') }}
where scanned_at >= {{ slice_start() }} and scanned_at < {{ slice_end() }}
