{#- Days of the slice with less than a share of the rows that `rows_per_hour` makes of their 23 to 25 hours. -#}
{% test covers_hours(model, zone, rows_per_hour, share) %}
with days as (
    select unnest(generate_series(
        ({{ slice_start() }} at time zone '{{ zone }}')::date,
        (({{ slice_end() }} - interval 1 microsecond) at time zone '{{ zone }}')::date,
        interval 1 day
    )) as day
),
expected as (
    select
        strftime(day, '%Y-%m-%d') as partition_key,
        {{ rows_per_hour }} * date_diff(
            'hour', day at time zone '{{ zone }}', (day + interval 1 day) at time zone '{{ zone }}'
        ) as rows_expected
    from days
),
found as (
    select partition_key, count(*) as rows_found from {{ model }} group by partition_key
)
select partition_key, coalesce(rows_found, 0) as rows_found, rows_expected
from expected
left join found using (partition_key)
where coalesce(rows_found, 0) < {{ share }} * rows_expected
{% endtest %}
