{#-
  Rows whose time lies in another partition than the one that they belong to.
    period: what a partition is: hour, day, week or month; format: of its key
-#}
{% test in_own_partition(model, column, zone, format="%Y-%m-%d", period="day") %}
select * from {{ model }}
where strftime(date_trunc('{{ period }}', {{ column }} at time zone '{{ zone }}'), '{{ format }}') <> partition_key
{% endtest %}
