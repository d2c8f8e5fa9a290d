{{ config(meta={"slice_zone": "UTC"}) }}

-- Every hour at every airport, whether or not the last observation came in.
with hours as (

    select {{ ticks(slice_start(), slice_end(), "1 hour") }} as decided_at

)

select
    strftime(decided_at at time zone 'UTC', '%Y-%m-%dT%HZ-') || origin as forecast_id,
    strftime(decided_at at time zone 'UTC', '%Y-%m-%d') as partition_key,
    origin,
    decided_at,
    hour(decided_at at time zone 'UTC') as hour,
    sin(radians(15 * hour)) as hour_sin,
    cos(radians(15 * hour)) as hour_cos
from hours
cross join (select unnest(['EWR', 'JFK', 'LGA']) as origin) as airports
