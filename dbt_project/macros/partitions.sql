{#-
  The slice that this run builds: dbt's own flags --event-time-start and --event-time-end, UTC, the end
  excluded. Flags and not vars: other vars make dbt parse the whole project anew, 3 s each time.
  Without the flags (dbt compile, dbt test by hand) it is all that the use case's source covers.

  A model is sliced by its column event_at, or by partition_key if its config says
    meta={"slice_zone": zone of the keys, "slice_lookback_days": days before the slice, default 0,
          "slice_format": of the keys, default %Y-%m-%d; hourly ones have %Y-%m-%dT%HZ, monthly %Y-%m}
  slice_lookback_days says which rows a run builds anew, the spec's label.lookback_partitions which
  partitions it then exports: of the labels both must reach equally far back.
-#}

{% macro slice_start() -%}
  timestamptz '{{ invocation_args_dict.event_time_start or env_var("MLOPS_COVERAGE_START") }}+00:00'
{%- endmacro %}

{% macro slice_end() -%}
  timestamptz '{{ invocation_args_dict.event_time_end or env_var("MLOPS_COVERAGE_END") }}+00:00'
{%- endmacro %}

{#- The same as keys of partitions in the business time zone, to read and replace their files. -#}
{% macro slice_keys(zone, lookback_days=0, format="%Y-%m-%d") -%}
  between strftime(({{ slice_start() }} at time zone '{{ zone }}') - interval {{ lookback_days }} day, '{{ format }}')
  and strftime(({{ slice_end() }} - interval 1 microsecond) at time zone '{{ zone }}', '{{ format }}')
{%- endmacro %}

{% macro in_slice(meta) -%}
  {%- if meta.slice_zone -%}
    partition_key {{ slice_keys(meta.slice_zone, meta.slice_lookback_days or 0, meta.slice_format or "%Y-%m-%d") }}
  {%- else -%}
    event_at >= {{ slice_start() }} and event_at < {{ slice_end() }}
  {%- endif -%}
{%- endmacro %}

{#- Pre-hook of every model, in the same transaction as the insert that follows. -#}
{% macro delete_slice() -%}
  {% if is_incremental() %} delete from {{ this }} where {{ in_slice(model.config.meta) }} {% endif %}
{%- endmacro %}

{#-
  dbt calls this for the model of each generic data test. A test looks at the slice only: what was built
  earlier was tested then, and a day late in the year costs what one early in the year does.
-#}
{% macro get_where_subquery(relation) -%}
  {%- set tested = graph.nodes.get(model.attached_node) if execute else none -%}
  {%- set conditions = [config.get("where")] if config.get("where") else [] -%}
  {%- if tested and (tested.config.materialized == "incremental" or tested.config.meta.slice_zone) -%}
    {%- do conditions.append(in_slice(tested.config.meta)) -%}
  {%- endif -%}
  {%- if conditions -%}
    (select * from {{ relation }} where {{ conditions | join(" and ") }}) as tested_slice
  {%- else -%}
    {{ relation }}
  {%- endif -%}
{%- endmacro %}
