{#- Rows whose time lies in another partition than the one that they belong to. -#}
{% test in_own_partition(model, column, zone, format="%Y-%m-%d") %}
select * from {{ model }}
where strftime({{ column }} at time zone '{{ zone }}', '{{ format }}') <> partition_key
{% endtest %}
