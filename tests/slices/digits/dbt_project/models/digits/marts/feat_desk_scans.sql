with hours as (

    select {{ ticks(slice_start(), slice_end(), "1 hour") }} as event_at

)

select
    scans.desk,
    hours.event_at,
    count(*) as scan_count_6h,
    avg(row_3_ink + row_4_ink) as middle_ink_mean_6h,
    greatest(hours.event_at, max(scans.corrected_at)) as created_at
from hours
inner join {{ ref('stg_scanner__scans') }} as scans
    on scans.scanned_at > hours.event_at - interval 6 hour
    and scans.scanned_at <= hours.event_at
group by scans.desk, hours.event_at
