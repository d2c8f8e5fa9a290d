{#-
  Windows (t - w, t] at ticks, without a join of ranges: events are counted at the first tick not before
  them, united with the ticks that are asked for, and a window is a frame over both. Exact at every tick.
  Columns of such a relation: keys, event_at; for count_mean_share also events, delay_min, late (15 minutes
  or more), is_tick.

  The session is in UTC, so a day is 24 hours. In a zone with summer time, make daily ticks of local time:
    ticks(slice_start() ~ local, slice_end() ~ local, "1 day"), with local = " at time zone '<zone>'"
  and turn them back by the same; write the windows yourself, ordered by the local time.
-#}

{#- A bucket closes on the left, hence the microsecond: an event exactly on a tick belongs to it. -#}
{% macro tick_after(time, tick="15 minute", offset="0 minute") -%}
  time_bucket(interval {{ tick }}, {{ time }} - interval {{ offset }} - interval 1 microsecond)
    + interval {{ tick }} + interval {{ offset }}
{%- endmacro %}

{% macro ticks(first, end, tick="15 minute") -%}
  unnest(generate_series({{ first }}, {{ end }} - interval 1 microsecond, interval {{ tick }}))
{%- endmacro %}

{#- One frame for each window: the ticks of (t - w, t] are those from t - w + tick on. -#}
{% macro frames(keys, windows, unit, tick="15 minute") -%}
  {% for window in windows %}
    last_{{ window }}{{ unit[0] }} as (
      partition by {{ keys }} order by event_at
      range between interval {{ window }} {{ unit }} - interval {{ tick }} preceding and current row
    ){{ "," if not loop.last }}
  {% endfor %}
{%- endmacro %}

{% macro count_mean_share(event, windows, unit) -%}
  {% for window in windows %}
    {% set name = window ~ unit[0] %}
    coalesce(sum(events) over last_{{ name }}, 0)::bigint as {{ event }}_count_{{ name }},
    sum(delay_min) over last_{{ name }} / sum(events) over last_{{ name }} as {{ event }}_delay_mean_{{ name }}_min,
    sum(late) over last_{{ name }} / sum(events) over last_{{ name }} as {{ event }}_late_share_{{ name }}
    {{- "," if not loop.last }}
  {% endfor %}
{%- endmacro %}
