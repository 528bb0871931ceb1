// Runs in the page of `pslock demo --web`, after Chart.js: shows what the server tells, and asks it for what is wanted.
;(() => {
  const { Chart } = globalThis
  const at = (id) => document.getElementById(id)
  const form = at('form')
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
  const whole = (value) => Math.round(value).toLocaleString('en-US')
  const text = (element, words) => {
    if (element.textContent !== words) element.textContent = words
  }

  function duration(ms) {
    if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10_000 ? 0 : 1)} s`
    return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
  }

  const count = (number, noun) => `${whole(number)} ${noun}${number === 1 ? '' : 's'}`
  const nameOf = (way) => form.querySelector(`[value=${way}] + span strong`).textContent
  const waits = (ms) => (ms === 0 ? '–' : duration(ms))

  const ask = async (path, body = {}) => {
    const headers = { 'Content-Type': 'application/json' }
    const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) })
    const told = await response.json()
    if (!response.ok) throw Object.assign(new Error(told.error), { status: response.status })
    return told
  }

  // What is asked for.

  function knobs() {
    const { way, wal } = form.elements
    const asked = { way: way.value, wal: wal.checked }
    for (const name of ['processes', 'num', 'delayMs', 'sleepMs', 'timeoutMs'])
      asked[name] = form[name].valueAsNumber
    return asked
  }

  function hintOf({ way, processes, num, sleepMs, timeoutMs }) {
    if (way !== 'none' && timeoutMs < sleepMs) {
      return `TIMEOUT (${timeoutMs} ms) is shorter than SLEEP (${sleepMs} ms): whoever waits gives up before the one ahead is done.`
    }
    const minutes = (processes * num * sleepMs) / 60_000
    if (way !== 'none' && minutes > 2)
      return `SLEEP alone makes this run last ${whole(minutes)} minutes: one has the lock at a time. Lower NUM for a short one.`
    return ''
  }

  const SLOW = { num: 150, delayMs: 100, sleepMs: 60 }
  const isSlow = (asked) => Object.keys(SLOW).every((name) => asked[name] === SLOW[name])
  at('slow').addEventListener('input', () => {
    for (const name in SLOW) form[name].value = at('slow').checked ? SLOW[name] : form[name].defaultValue
  })

  /** Of a run that this page has not started. */
  function adopt({ wal, ...others }) {
    for (const name in others) form.elements[name].value = others[name]
    form.wal.checked = wal
    showKnobs()
  }

  function showKnobs() {
    const asked = knobs()
    at('slow').checked = isSlow(asked)
    form.wal.disabled = asked.way !== 'sqlite'
    const wrong = form.querySelector('input:invalid')
    if (wrong) {
      const name = wrong.closest('label').firstChild.textContent
      return text(at('hint'), `${name} must be a whole number from ${wrong.min} to ${wrong.max}.`)
    }
    const { processes, num, delayMs, sleepMs, timeoutMs, wal } = asked
    text(at('lead-words'), processes === 1 ? 'one other program' : `${processes} other programs`)
    text(
      at('knobs-words'),
      `${processes} process${processes === 1 ? '' : 'es'}, NUM ${whole(num)}, DELAY ${delayMs} ms, SLEEP ${sleepMs} ms, TIMEOUT ${whole(timeoutMs)} ms${asked.way === 'sqlite' ? `, WAL ${wal ? 'on' : 'off'}` : ''}`,
    )
    text(at('hint'), hintOf(asked))
    if (shown === 0) showPlaceholders()
  }
  form.addEventListener('input', showKnobs)
  form.addEventListener(
    'invalid',
    () => {
      at('knobs').open = true
    },
    true,
  )
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    try {
      wanted = (await ask('/start', knobs())).run
    } catch (error) {
      text(at('hint'), error.message)
    }
  })
  at('end').addEventListener('click', () => ask('/end').catch(() => {}))

  // The web site.

  const QUICK_MS = 300
  const GONE = ['killed', 'failed', 'ended']
  /** Since when a request has been on its way. */
  let postedAt
  let answer = ['–', '']
  let site
  function showAnswer() {
    const ms = performance.now() - postedAt
    let shown = answer
    if (GONE.includes(site?.state) && site.state !== 'ended') shown = ['–', `The web site is ${site.state}.`]
    else if (ms > QUICK_MS)
      shown = [`… ${duration(ms)}`, `Waiting for the answer. The web site is ${site?.state ?? 'starting'}.`]
    text(at('answer'), shown[0])
    text(at('answer-text'), shown[1])
  }
  async function post() {
    if (postedAt !== undefined) return
    const start = performance.now()
    postedAt = start
    const answered = (mark, words) => {
      answer = [`${mark} ${duration(performance.now() - start)}`, words]
    }
    try {
      await ask('/records')
      answered('✓', '')
    } catch (error) {
      // A conflict: the run has ended meanwhile.
      if (error.status !== 409) answered('✗', error.message)
    }
    postedAt = undefined
    showAnswer()
  }
  at('post').addEventListener('click', post)
  setInterval(() => {
    if (at('visitors').checked && !at('post').disabled) void post()
  }, 500)

  // The chart. Each process has a colour, a dash and a shape: one is enough to tell it by.

  const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]]
  const SHAPES = ['circle', 'rect', 'triangle', 'rectRot']
  const POINTS_AT_MOST = 240
  const MARK_EVERY = 12
  const lookOf = (index) => ({
    colour: `p${index % 6}`,
    dash: DASHES[index % DASHES.length],
    shape: SHAPES[index % SHAPES.length],
  })
  let chart
  function drawChart(datasets = []) {
    chart?.destroy()
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily
    const axis = (title, more) => ({
      type: 'linear',
      min: 0,
      title: { display: true, text: title, color: colour('muted') },
      grid: { color: colour('line'), tickColor: colour('line') },
      ticks: { color: colour('muted'), maxRotation: 0, ...more },
    })
    chart = new Chart(at('chart'), {
      type: 'line',
      data: { datasets },
      options: {
        animation: false,
        parsing: false,
        maintainAspectRatio: false,
        plugins: { legend: { display: false }, tooltip: { enabled: false } },
        scales: {
          x: { ...axis('seconds', { precision: 0 }), suggestedMax: 5 },
          y: { ...axis('records a second', { precision: 0, maxTicksLimit: 6 }), suggestedMax: 10 },
        },
      },
    })
  }
  function lineOf(index) {
    const { colour: name, dash, shape } = lookOf(index)
    const own = colour(name)
    return {
      data: [],
      borderColor: own,
      backgroundColor: own,
      borderDash: dash,
      borderWidth: 2,
      pointStyle: shape,
      pointRadius: ({ dataIndex }) => (dataIndex % MARK_EVERY === index % MARK_EVERY ? 4 : 0),
      index,
    }
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    drawChart(chart.data.datasets.map(({ index, data }) => ({ ...lineOf(index), data })))
  })

  // What the server tells.

  /** The run that was asked for last: what is told of earlier ones is late. */
  let wanted = 0
  let shown = 0
  let before
  const rows = new Map()
  const MARKS = {
    starting: '…',
    ready: '–',
    inserting: '→',
    waiting: '○',
    holding: '●',
    pausing: '–',
    'holding, stopped': '■',
    stopped: '■',
    ended: '–',
    killed: '✗',
    failed: '✗',
  }
  const SIGNALS = ['kill', 'stop', 'continue']
  const FOREIGN = 'from a terminal'

  function rowOf(key, name, hasButtons) {
    const index = rows.size
    const row = document.createElement('tr')
    const { colour: hue, dash, shape } = lookOf(index)
    const shapes = {
      circle: '<circle cx="17" cy="6" r="4"/>',
      rect: '<rect x="13" y="2" width="8" height="8"/>',
      triangle: '<path d="M17 1l5 9h-10z"/>',
      rectRot: '<path d="M17 1l5 5-5 5-5-5z"/>',
    }
    row.innerHTML = `<th scope="row"><svg viewBox="0 0 34 12" aria-hidden="true"><g class="hue"><path d="M0 6h34" stroke-width="2" stroke-dasharray="${dash.join(' ')}"/>${shapes[shape]}</g></svg><span></span> <small></small></th><td><span></span> <small></small></td><td data-name="inserted"></td><td data-name="a second"></td><td data-name="refused"></td><td data-name="longest wait"></td><td></td>`
    row.querySelector('g').style.setProperty('--hue', `var(--${hue})`)
    row.querySelector('span').textContent = name
    const buttons = SIGNALS.map((signal) => {
      const button = document.createElement('button')
      button.type = 'button'
      button.textContent = signal
      button.setAttribute('aria-label', `${signal} ${name}`)
      button.addEventListener('click', () => ask('/signal', { pid: made.pid, signal }).catch(() => {}))
      if (hasButtons) row.lastChild.append(button)
      return button
    })
    at('rows').append(row)
    const line = lineOf(index)
    chart.data.datasets.push(line)
    const made = { pid: 0, cells: [...row.children], buttons, line }
    rows.set(key, made)
    return made
  }

  /** Before the first run: the rows that it will have, so that nothing moves when it begins. */
  function showPlaceholders() {
    reset()
    const none = { pid: 0, own: false, state: 'ready', sinceMs: 0, done: 0, failed: 0, longestMs: 0 }
    const { processes, num } = knobs()
    const names = Array.from({ length: Math.min(processes || 0, 10) }, (_, index) => `process ${index + 1}`)
    showRow({ ...none, name: 'web site' }, 0)
    for (const name of names) showRow({ ...none, name, num }, 0)
  }

  function showRow({ pid, name, own, state, sinceMs, done, num, failed, longestMs }, perSecond, holder) {
    const isForeign = name === FOREIGN
    const made = rows.get(isForeign ? pid : name) ?? rowOf(isForeign ? pid : name, name, !isForeign)
    const { cells, buttons, line } = made
    made.pid = pid
    text(cells[0].lastChild, `pid ${pid || '–'}`)
    const isDone = state === 'ended' && done + failed === num
    const since = /waiting|holding/.test(state) ? ` ${duration(sinceMs)}` : ''
    text(cells[1].firstChild, `${isDone ? '✓ done' : `${MARKS[state]} ${state}`}${since}`)
    text(cells[1].lastChild, state === 'waiting' && holder ? `for ${holder.name}` : '')
    text(cells[2], num === undefined ? whole(done) : `${whole(done)} of ${whole(num)}`)
    text(cells[3], whole(perSecond))
    text(cells[4], whole(failed))
    text(cells[5], waits(longestMs))
    const isOver = !own || GONE.includes(state)
    const isStopped = state.endsWith('stopped')
    for (const [index, button] of buttons.entries()) {
      button.disabled = isOver || (index === 1 && isStopped) || (index === 2 && !isStopped)
    }
    return line
  }

  function reset() {
    rows.clear()
    at('rows').replaceChildren()
    before = undefined
    drawChart()
  }

  function show(now) {
    // Late news of a run that is over.
    if (now.run < Math.max(wanted, shown)) return
    if (now.run > shown) {
      shown = now.run
      if (now.run !== wanted) adopt(now.knobs)
      answer = ['–', '']
      reset()
    }
    if (now.run === 0) return
    const seconds = now.elapsedMs / 1000
    const passed = before === undefined ? 0 : seconds - before.elapsedMs / 1000
    let rate = 0
    const holder = now.rows.find(({ state }) => state.startsWith('holding'))
    for (const row of now.rows) {
      const earlier = before?.rows.find(({ pid }) => pid === row.pid)?.done ?? 0
      const perSecond = passed > 0 ? (row.done - earlier) / passed : 0
      rate += perSecond
      const { data } = showRow(row, perSecond, holder)
      if (passed > 0) data.push({ x: seconds, y: perSecond })
      if (data.length > POINTS_AT_MOST) data.shift()
    }
    if (passed > 0) {
      chart.options.scales.x.min = Math.max(0, seconds - POINTS_AT_MOST / 4)
      chart.update()
    }
    before = now
    showTotals(now, rate)
  }

  function showTotals(now, rate = 0) {
    const isOn = now !== undefined && now.phase !== 'done'
    at('end').disabled = !isOn || now.phase === 'counting'
    text(at('start'), isOn ? 'Start again' : 'Start')
    const sum = (name) => now?.rows.reduce((total, row) => total + (row[name] ?? 0), 0) ?? 0
    const done = sum('done')
    const planned = sum('num')
    const failed = sum('failed')
    const isOver = now?.phase === 'done'
    text(at('rate'), isOver ? whole(done / (now.elapsedMs / 1000 || 1)) : isOn ? whole(rate) : '–')
    text(at('rate-words'), isOver ? 'average a second' : 'records a second')
    text(at('done'), now ? whole(done) : '–')
    at('progress').value = planned > 0 ? Math.min(1, done / planned) : 0
    text(at('failed'), now ? whole(failed) : '–')
    text(at('longest'), waits(Math.max(0, ...(now?.rows ?? []).map(({ longestMs }) => longestMs))))
    site = now?.rows[0]
    at('post').disabled = now?.phase !== 'running' || GONE.includes(site.state)
    showAnswer()
    const error = now?.rows.findLast((row) => row.error)
    text(at('last-error'), error ? `${error.name} (pid ${error.pid}): ${error.error}` : '')
    const { program } = at('command').dataset
    at('command').hidden = !now
    text(
      at('command-words'),
      isOver
        ? 'The run has ended. What you insert into its file is counted until the next run starts.'
        : now
          ? 'Type this elsewhere. The process appears above.'
          : 'Start a run: its command stands here then.',
    )
    if (now)
      text(
        at('command'),
        `${program} demo --insert '${now.file}' --way ${now.knobs.way} --num ${now.knobs.num} --delay ${now.knobs.delayMs} --sleep ${now.knobs.sleepMs} --timeout ${now.knobs.timeoutMs}`,
      )
    showResult(...verdictOf(now))
  }

  function showResult(tone, title, words) {
    at('result').className = `card result ${tone}`
    text(at('verdict'), title)
    text(at('verdict-text'), words)
  }

  const COMPACTION = ' Half way process 1 compacts the file, which otherwise only grows.'

  function verdictOf(now) {
    if (now === undefined) return ['', 'Ready', 'Press Start. It takes a few seconds.']
    if (now.phase === 'starting') return ['', 'Starting', '']
    if (now.phase === 'running') {
      const compaction = now.knobs.way === 'sqlite' ? '' : COMPACTION
      return ['', 'Running', `Kill or stop a process below, and see what the others do.${compaction}`]
    }
    if (now.phase === 'counting')
      return ['', 'Counting', 'The library opens a copy of the file, without pslock.']
    const { expected, acknowledged, found, error } = now.result
    if (error) return ['bad', '✗ The file cannot be read', error]
    const title = `${nameOf(now.knobs.way)}: expected ${whole(expected)}, found ${whole(found)}`
    const refused = expected - acknowledged
    const gaveUp =
      refused > 0
        ? ` ${whole(refused)} ${refused === 1 ? 'was refused, and its program knows' : 'were refused, and their programs know'} it.`
        : ''
    const lost = acknowledged - found
    if (lost > 0) {
      const why =
        now.knobs.way === 'none'
          ? ' Process 1 compacted the file half way, and wrote only the records that it knew of.'
          : ''
      return [
        'bad',
        `✗ ${title}`,
        `${count(lost, 'record')} ${lost === 1 ? 'is' : 'are'} lost, and no program was told.${why}${gaveUp}`,
      ]
    }
    const more = lost < 0 ? ` ${-lost} more: in the file, but its process was killed before it was told.` : ''
    const finder = now.knobs.way === 'sqlite' ? '' : ' They are counted without pslock.'
    // Nothing kept order: that nothing is lost was luck.
    const isLuck = now.knobs.way === 'none'
    const why = now.rows[1]?.compacted
      ? 'That was luck, since nothing kept order.'
      : 'Process 1 ended before it compacted the file, so that nothing could be lost by that.'
    const isUnsure = isLuck || refused > 0
    return [
      isUnsure ? 'unsure' : 'good',
      `${isUnsure ? '△' : '✓'} ${title}`,
      `No record that was acknowledged is lost.${isLuck ? ` ${why}` : ''}${finder}${gaveUp}${more}`,
    ]
  }

  showKnobs()
  showTotals(undefined)
  const events = new EventSource('/events')
  events.addEventListener('message', ({ data }) => show(JSON.parse(data)))
  events.addEventListener('error', () => {
    // Whoever answers next may be another server, and count its runs from one.
    wanted = 0
    shown = 0
    for (const button of document.querySelectorAll('#rows button, #post, #end')) button.disabled = true
    at('command').hidden = true
    showResult('bad', '✗ The server has ended', 'Start it again: pslock demo --web')
  })
})()
