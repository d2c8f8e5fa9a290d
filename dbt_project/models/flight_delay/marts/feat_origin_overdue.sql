with due as (

    -- Due from 15 minutes after the schedule; a flight that will be cancelled is overdue, too.
    select
        origin,
        scheduled_departure_at + interval 15 minute as due_at,
        scheduled_departure_at + interval 2 hour as end_2h,
        scheduled_departure_at + interval 6 hour as end_6h,
        coalesce(departed_at, 'infinity'::timestamptz) as departed_at,
        corrected_at
    from {{ ref('int_flights_timed') }}
    where scheduled_departure_at > {{ slice_start() }} - interval 6 hour
        and scheduled_departure_at < {{ slice_end() }}

),

changes as (

    -- A flight enters a count and leaves it again, so a count is the sum of all changes so far.
    select origin, due_at as changed_at, 1 as due, corrected_at from due
    union all by name
    select origin, end_6h as changed_at, -1 as due from due
    {% for hours in [2, 6] %}
        union all by name
        select origin, due_at as changed_at, 1 as overdue_{{ hours }}h from due where departed_at > due_at
        union all by name
        select origin, least(departed_at, end_{{ hours }}h) as changed_at, -1 as overdue_{{ hours }}h
        from due
        where departed_at > due_at
    {% endfor %}

),

buckets as (

    select
        origin,
        {{ tick_after("changed_at") }} as event_at,
        sum(due) as due,
        sum(overdue_2h) as overdue_2h,
        sum(overdue_6h) as overdue_6h,
        max(corrected_at) as corrected_at
    from changes
    group by all

),

spine as (

    select origins.origin, ticks.event_at, true as is_tick
    from (select unnest(['EWR', 'JFK', 'LGA']) as origin) as origins
    cross join (select {{ ticks(slice_start(), slice_end()) }} as event_at) as ticks

),

windows as (

    select
        origin,
        event_at,
        is_tick,
        coalesce(sum(due) over so_far, 0)::bigint as due_count_6h,
        coalesce(sum(overdue_2h) over so_far, 0)::bigint as overdue_count_2h,
        coalesce(sum(overdue_6h) over so_far, 0)::bigint as overdue_count_6h,
        greatest(event_at, max(corrected_at) over last_345m) as created_at
    from (from buckets union all by name from spine) as changes_and_ticks
    window
        so_far as (partition by origin order by event_at),
        {# Of flights that are 15 minutes to 6 hours past their schedule. #}
        {{ frames("origin", [345], "minute") }}

)

select * exclude (is_tick)
from windows
where is_tick
