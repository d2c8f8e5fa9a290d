{#- Rows that happened before their partition began: a slice built before would have missed them. -#}
{% test not_before_partition(model, columns, zone, format="%Y-%m-%d") %}
select * from {{ model }}
where false
  {% for column in columns %}
    or strftime({{ column }} at time zone '{{ zone }}', '{{ format }}') < partition_key
  {% endfor %}
{% endtest %}
