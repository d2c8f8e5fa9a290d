{% set changes = [1, 4, 52] %}

with levels as (

    -- A gap is no number: the newest reading counts until there is another.
    select
        *,
        known_at as event_at,
        last_value(co2_ppm ignore nulls) over past as level_ppm,
        last_value(if(co2_ppm is null, null, known_at) ignore nulls) over past as level_known_at
    from {{ ref('stg_noaa__readings') }}
    where partition_key {{ slice_keys("UTC", lookback_days=104 * 7) }}
    window past as (partition by station_id order by known_at)

),

lags as (

    select
        {% for weeks in changes + [48] %}
        last_value(level_ppm) over (
            partition by station_id order by event_at
            range between unbounded preceding and interval {{ weeks }} week preceding
        ) as level_{{ weeks }}w_ppm,
        {% endfor %}
        *
    from levels

)

select
    station_id,
    event_at,
    level_ppm,
    date_diff('week', level_known_at, event_at) as level_age_weeks,
    {% for weeks in changes %}
    level_ppm - level_{{ weeks }}w_ppm as change_{{ weeks }}w_ppm,
    {% endfor %}
    -- As decimals: a mean of doubles depends on their order.
    change_52w_ppm - avg(change_52w_ppm::decimal(9, 4)) over last_26w as growth_deviation_26w_ppm,
    level_ppm - avg(level_ppm::decimal(9, 4)) over last_4w as deviation_4w_ppm,
    level_ppm - avg(level_ppm::decimal(9, 4)) over last_52w as deviation_52w_ppm,
    level_48w_ppm - level_52w_ppm as change_next_4w_1y_ago_ppm,
    level_ppm + level_48w_ppm - level_52w_ppm as seasonal_naive_ppm,
    greatest(event_at, max(corrected_at) over last_104w) as created_at
from lags
window {{ frames("station_id", [4, 26, 52, 104], "week", "1 week") }}
qualify event_at >= {{ slice_start() }} and event_at < {{ slice_end() }}
