{#- The slice that this run builds: first and last partition key, and its UTC bounds. -#}

{% macro slice_keys() -%}
  between '{{ var("first_key") }}' and '{{ var("last_key") }}'
{%- endmacro %}

{% macro slice_start() -%} timestamptz '{{ var("start_at") }}' {%- endmacro %}

{% macro slice_end() -%} timestamptz '{{ var("end_at") }}' {%- endmacro %}

{#- Pre-hooks, in the same transaction as the insert that follows. -#}

{% macro delete_slice_by_key(column="partition_key") -%}
  {% if is_incremental() %} delete from {{ this }} where {{ column }} {{ slice_keys() }} {% endif %}
{%- endmacro %}

{% macro delete_slice_by_time(column="event_at") -%}
  {% if is_incremental() %}
    delete from {{ this }} where {{ column }} >= {{ slice_start() }} and {{ column }} < {{ slice_end() }}
  {% endif %}
{%- endmacro %}
