{#- Rows for which a condition is false; unknown is not false. -#}
{% test holds(model, condition) %}
select * from {{ model }} where not ({{ condition }})
{% endtest %}
