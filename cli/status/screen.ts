import { cut } from '../base/terminal-text.ts'
import { endBy } from '../run/signals.ts'
import { type Status, statusText } from './status.ts'

/** The alternate screen, as top(1) and less(1) use it: what was on the terminal before is there again afterwards. */
const ENTER = '\x1b[?1049h\x1b[?25l'
const LEAVE = '\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_REST_OF_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

/** The status on a terminal, in place. The terminal is given back however this ends, but by SIGKILL. */
export class Screen {
  #last: Status | undefined
  #entered = false

  readonly #leave = () => {
    if (this.#entered) process.stdout.write(LEAVE)
    this.#entered = false
  }

  readonly #redraw = () => {
    if (this.#last) this.show(this.#last)
  }

  constructor() {
    process.on('exit', this.#leave)
    process.stdout.on('resize', this.#redraw)
    for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
      process.once(signal, () => {
        this.#leave()
        endBy(signal)
      })
    }
    process.on('SIGTSTP', () => {
      this.#leave()
      process.kill(process.pid, 'SIGSTOP')
    })
    process.on('SIGCONT', this.#redraw)
  }

  show(found: Status): void {
    this.#last = found
    const columns = process.stdout.columns || 80
    const rows = process.stdout.rows || 24
    const lines = [
      statusText(found, columns),
      '',
      cut(`${new Date().toLocaleTimeString()}  Ctrl-C ends`, columns),
    ]
    const fitting = lines.join('\n').split('\n').slice(0, rows)
    const enter = this.#entered ? '' : ENTER
    this.#entered = true
    process.stdout.write(
      `${enter}${HOME}${fitting.map((line) => line + CLEAR_REST_OF_LINE).join('\n')}${CLEAR_BELOW}`,
    )
  }

  [Symbol.dispose](): void {
    process.stdout.off('resize', this.#redraw)
    process.off('SIGCONT', this.#redraw)
    this.#leave()
  }
}
