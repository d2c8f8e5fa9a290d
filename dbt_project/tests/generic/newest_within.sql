{#- Freshness at the end of the slice and not at this moment: the past is rebuilt as well. -#}
{% test newest_within(model, column, hours) %}
select max({{ column }}) as newest_at, {{ slice_end() }} as slice_end
from {{ model }}
having max({{ column }}) is null or max({{ column }}) < {{ slice_end() }} - interval {{ hours }} hour
{% endtest %}
