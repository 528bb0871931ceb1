// Runs in the page, after Chart.js: makes a chart of each drawing (see ../plot.ts), in the colours of the style sheet.
;(() => {
  const { Chart } = globalThis
  const drawings = JSON.parse(document.getElementById('drawings').textContent)
  const dark = matchMedia('(prefers-color-scheme: dark)')
  const isOnPaper = () => document.documentElement.classList.contains('paper')
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

  /** Milliseconds as people read them; the same as in the terminal. */
  function duration(ms) {
    if (ms === 0) return '0'
    if (ms >= 1000) return `${Number((ms / 1000).toPrecision(4))} s`
    return ms < 1 ? `${Number((ms * 1000).toPrecision(3))} µs` : `${Number(ms.toPrecision(4))} ms`
  }

  const title = (text) => ({ display: true, text, color: colour('muted') })
  const grid = () => ({ color: colour('line'), tickColor: colour('line') })
  const ticks = (more) => ({ color: colour('muted'), maxRotation: 0, ...more })
  const timeScale = (min, max, name) => ({
    type: 'linear',
    min,
    max,
    title: title(name),
    grid: grid(),
    ticks: ticks({ callback: duration, autoSkipPadding: 24, includeBounds: false }),
  })

  const charts = {
    throughput: ({ points, endMs, untilMs, most }, main) => ({
      type: 'line',
      data: {
        datasets: [
          {
            label: 'operations per second',
            // What is between the steps nobody has counted: no curve.
            data: [...points, { x: endMs, y: points.at(-1).y }, { x: endMs, y: 0 }],
            borderColor: main,
            backgroundColor: `${main}2e`,
            borderWidth: 2,
            pointRadius: 0,
            pointHitRadius: 12,
            stepped: 'before',
            fill: 'origin',
          },
        ],
      },
      options: {
        parsing: false,
        plugins: {
          legend: { display: false },
          tooltip: { callbacks: { title: ([{ parsed }]) => `from ${duration(Math.round(parsed.x))} on` } },
        },
        scales: {
          x: timeScale(0, untilMs, 'time'),
          y: {
            min: 0,
            max: most,
            grid: grid(),
            ticks: ticks({ includeBounds: false }),
            title: title('operations per second'),
          },
        },
      },
    }),

    waits: ({ bounds, shares, marks, most }, main) => ({
      type: 'line',
      data: {
        datasets: [
          {
            label: 'share of the operations',
            data: bounds.map((x, step) => ({ x, y: shares[step] ?? 0 })),
            borderColor: main,
            backgroundColor: `${main}2e`,
            borderWidth: 1.5,
            pointRadius: 0,
            pointHitRadius: 8,
            stepped: 'before',
            fill: 'origin',
          },
          ...marks.map(({ name, ms }, index) => ({
            label: `${name} ${duration(Number(ms.toPrecision(3)))}`,
            data: [
              { x: ms, y: 0 },
              { x: ms, y: most },
            ],
            borderColor: colour('ink'),
            borderDash: [[], [6, 4], [2, 3]][index],
            borderWidth: 1.5,
            pointRadius: 0,
            pointHitRadius: 6,
          })),
        ],
      },
      options: {
        parsing: false,
        plugins: {
          legend: {
            labels: { filter: ({ datasetIndex }) => datasetIndex > 0 },
            onClick: () => {},
          },
          tooltip: {
            callbacks: {
              title: ([{ dataset, datasetIndex, dataIndex }]) =>
                datasetIndex > 0
                  ? dataset.label
                  : `${duration(Number(bounds[dataIndex].toPrecision(2)))} and a third more`,
              label: ({ datasetIndex, parsed }) => (datasetIndex > 0 ? '' : `${parsed.y.toPrecision(2)} %`),
            },
          },
        },
        scales: {
          x: {
            type: 'logarithmic',
            min: bounds[0],
            max: bounds.at(-1),
            title: title('wait, logarithmic'),
            grid: grid(),
            ticks: ticks({
              // Only the powers of ten; between them it would be a thicket.
              callback: (ms) =>
                Number.isInteger(Number(Math.log10(ms).toFixed(6))) ? duration(ms) : undefined,
              autoSkip: false,
            }),
          },
          y: {
            min: 0,
            max: most,
            grid: grid(),
            ticks: ticks({ includeBounds: false }),
            title: title('% of the operations'),
          },
        },
      },
    }),

    lanes: ({ lanes, fromMs, untilMs, bars, kills }) => {
      const looks = {
        stopped: ['stopped (SIGSTOP)', 'stop', 0.95],
        waiting: ['waiting', 'waiting', 0.4],
        shared: ['holds it, shared', 'shared', 0.6],
        exclusive: ['holds it, exclusive', 'exclusive', 0.85],
        operation: ['in an operation', 'control', 0.7],
      }
      const marks = {
        type: 'scatter',
        label: 'kill -9',
        data: kills.map(({ lane, ms }) => ({ x: ms, y: lane })),
        pointStyle: 'crossRot',
        borderColor: colour('kill'),
        backgroundColor: colour('kill'),
        borderWidth: 2.5,
        radius: 5,
        hitRadius: 6,
        clip: false,
        order: -1,
      }
      return {
        type: 'bar',
        data: {
          labels: lanes,
          datasets: [
            ...(kills.length > 0 ? [marks] : []),
            ...bars.map(({ what, spans }, index) => {
              const [label, name, thickness] = looks[what]
              return {
                label,
                data: spans.map((span) => ({
                  x: [Math.max(fromMs, span.fromMs), Math.min(untilMs, span.toMs)],
                  y: span.lane,
                })),
                backgroundColor: colour(name),
                pointStyle: 'rect',
                barPercentage: thickness,
                categoryPercentage: 1,
                minBarLength: what === 'waiting' ? 0 : 1,
                grouped: false,
                // Drawn the other way round: what is held lies on what was waited for.
                order: bars.length - index,
              }
            }),
          ],
        },
        options: {
          indexAxis: 'y',
          plugins: {
            tooltip: {
              callbacks: {
                title: ([{ label, raw }]) => `process ${label || raw.y}`,
                label: ({ dataset, raw }) =>
                  Array.isArray(raw.x)
                    ? `${dataset.label} for ${duration(Number((raw.x[1] - raw.x[0]).toPrecision(3)))}`
                    : `killed at ${duration(Math.round(raw.x))}`,
              },
            },
          },
          scales: {
            x: timeScale(fromMs, untilMs, 'time'),
            y: {
              type: 'category',
              labels: lanes,
              grid: { display: false },
              ticks: ticks({ autoSkipPadding: 2, font: { size: 10 } }),
              title: title('process'),
            },
          },
        },
      }
    },

    fairness: ({ workers, early, late, most }, main) => ({
      type: 'bar',
      data: {
        labels: workers,
        datasets: [
          { label: 'by half time', data: early, backgroundColor: main },
          { label: 'after it', data: late, backgroundColor: `${main}55` },
        ].map((dataset) => ({ ...dataset, pointStyle: 'rect', barPercentage: 0.9, categoryPercentage: 0.9 })),
      },
      options: {
        plugins: { tooltip: { callbacks: { title: ([{ label }]) => `process ${label}` } } },
        scales: {
          x: {
            stacked: true,
            grid: { display: false },
            ticks: ticks({ autoSkipPadding: 8 }),
            title: title('process'),
          },
          y: {
            stacked: true,
            min: 0,
            max: most,
            grid: grid(),
            ticks: ticks({ precision: 0, includeBounds: false }),
            title: title('operations'),
          },
        },
      },
    }),
  }

  /** The legend shows a line as a line, with its dashes. */
  function legendItems(chart) {
    return Chart.defaults.plugins.legend.labels.generateLabels(chart).map((item) => {
      const { borderDash, borderWidth, borderColor } = chart.data.datasets[item.datasetIndex]
      if (borderDash === undefined) return item
      return {
        ...item,
        pointStyle: 'line',
        lineDash: borderDash,
        lineWidth: borderWidth,
        strokeStyle: borderColor,
      }
    })
  }

  function draw(canvas) {
    const drawing = drawings[Number(canvas.dataset.drawing)]
    const main = colour(canvas.dataset.run)
    const { type, data, options } = charts[drawing.kind](drawing, main)
    const { legend, ...plugins } = options.plugins
    return new Chart(canvas, {
      type,
      data,
      options: {
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        ...(isOnPaper() && { devicePixelRatio: 3 }),
        ...options,
        plugins: {
          ...plugins,
          legend: {
            position: 'bottom',
            ...legend,
            labels: {
              color: colour('ink'),
              usePointStyle: true,
              pointStyleWidth: 28,
              generateLabels: legendItems,
              boxHeight: 8,
              ...legend?.labels,
            },
          },
        },
      },
    })
  }

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily
  Chart.defaults.font.size = 11
  let drawn = []
  function drawAll() {
    for (const chart of drawn) chart.destroy()
    drawn = [...document.querySelectorAll('canvas[data-drawing]')].map(draw)
  }
  dark.addEventListener('change', drawAll)
  drawAll()

  // On paper nothing can be opened, nor drawn again for another width.
  let opened = []
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('details:not([open])')]
    for (const details of opened) details.open = true
    document.documentElement.classList.add('paper')
    drawAll()
  })
  addEventListener('afterprint', () => {
    for (const details of opened) details.open = false
    document.documentElement.classList.remove('paper')
    drawAll()
  })
})()
