{#- `ranges` maps columns to their lowest and highest value; null is no bound, and a null value is in range. -#}
{% test accepted_ranges(model, ranges) %}
select * from {{ model }}
where false
  {% for column, (lowest, highest) in ranges.items() %}
    {% if lowest is not none %} or {{ column }} < {{ lowest }} {% endif %}
    {% if highest is not none %} or {{ column }} > {{ highest }} {% endif %}
  {% endfor %}
{% endtest %}
