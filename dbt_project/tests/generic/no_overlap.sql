{#- Stretches of one entity that begin before the one before them has ended. -#}
{% test no_overlap(model, entity, start, end) %}
select *
from {{ model }}
where {{ entity }} is not null and {{ start }} is not null and {{ end }} is not null
qualify {{ start }} < lag({{ end }}) over (partition by {{ entity }} order by {{ start }})
{% endtest %}
