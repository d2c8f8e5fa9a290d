{#-
  The slice that this run builds: dbt's own flags --event-time-start and --event-time-end, UTC, the end
  excluded. Flags and not vars: other vars make dbt parse the whole project anew, 3 s each time.
-#}

{% macro slice_start() -%} timestamptz '{{ invocation_args_dict.event_time_start }}+00:00' {%- endmacro %}

{% macro slice_end() -%} timestamptz '{{ invocation_args_dict.event_time_end }}+00:00' {%- endmacro %}

{#- The same as keys of partitions in the business time zone, to read and replace their files. -#}
{% macro slice_keys(zone, format="%Y-%m-%d") -%}
  between strftime({{ slice_start() }} at time zone '{{ zone }}', '{{ format }}')
  and strftime(({{ slice_end() }} - interval 1 microsecond) at time zone '{{ zone }}', '{{ format }}')
{%- endmacro %}

{#- Pre-hooks, in the same transaction as the insert that follows. -#}

{% macro delete_slice_by_key(zone, column="partition_key") -%}
  {% if is_incremental() %} delete from {{ this }} where {{ column }} {{ slice_keys(zone) }} {% endif %}
{%- endmacro %}

{% macro delete_slice_by_time(column="event_at") -%}
  {% if is_incremental() %}
    delete from {{ this }} where {{ column }} >= {{ slice_start() }} and {{ column }} < {{ slice_end() }}
  {% endif %}
{%- endmacro %}
