{#-
  A snapshot each day over the events of the days before it, with one row for each key that had an event:
  their number, mean delay and share of late ones (15 minutes or more).
  The share is shrunk towards that of all events by as many average ones as `prior` says: a key may have
  had two events in a month.

    relation: with the keys, the columns named by time and delay (minutes), and corrected_at
    snapshot: time of the day after midnight UTC, such as "9 hour"
-#}
{% macro daily_history(relation, keys, event, time, delay, days, snapshot, prior) -%}
with events as (

    select
        {{ keys }},
        {{ tick_after(time, "1 day", snapshot) }} as event_at,
        count(*) as events,
        sum({{ delay }}) as delay_min,
        count(*) filter ({{ delay }} >= 15) as late,
        max(corrected_at) as corrected_at
    from {{ relation }}
    where {{ time }} > {{ slice_start() }} - interval {{ days }} day and {{ time }} < {{ slice_end() }}
    group by all

),

spine as (

    select *, true as is_tick
    from (select distinct {{ keys }} from events) as keys
    cross join (
        select {{ ticks(tick_after(slice_start(), "1 day", snapshot), slice_end(), "1 day") }} as event_at
    ) as snapshots

),

windows as (

    select
        {{ keys }},
        event_at,
        is_tick,
        sum(events) over last_{{ days }}d as events,
        sum(delay_min) over last_{{ days }}d as delay_min,
        sum(late) over last_{{ days }}d as late,
        max(corrected_at) over last_{{ days }}d as corrected_at
    from (from events union all by name from spine) as events_and_ticks
    window {{ frames(keys, [days], "day", "1 day") }}

)

select
    {{ keys }},
    event_at,
    events::bigint as {{ event }}_count_{{ days }}d,
    delay_min / events as {{ event }}_delay_mean_{{ days }}d_min,
    -- The share of all events is part of what a row was computed from: see created_at.
    (late + {{ prior }} * sum(late) over snapshot / sum(events) over snapshot)
        / (events + {{ prior }}) as {{ event }}_late_share_{{ days }}d,
    greatest(event_at, max(corrected_at) over snapshot) as created_at
from windows
where is_tick and events > 0
window snapshot as (partition by event_at)
{%- endmacro %}
