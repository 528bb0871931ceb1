import { isatty } from 'node:tty'
import { styleText } from 'node:util'
import { print, STDERR } from '../base/output.ts'
import { cut, isRewritable } from '../base/terminal-text.ts'

/** What takes less is not worth a line. */
const FIRST_AFTER_MS = 1000
/** On a terminal it is rewritten, elsewhere there is a line now and then. */
const EVERY_MS = { terminal: 200, log: 3000 }

const CLEAR_LINE = '\r\x1b[K'

/** Says on stderr how far something is that takes its time. */
export class Progress implements Disposable {
  readonly #title: string
  readonly #isTerminal = isRewritable(isatty(STDERR))
  readonly #first: NodeJS.Timeout
  #timer: NodeJS.Timeout | undefined
  #isDrawn = false
  #what = 'connecting'
  #done: number | undefined
  #total: number | undefined

  constructor(title: string) {
    this.#title = title
    this.#first = setTimeout(() => {
      this.#show()
      this.#timer = setInterval(() => this.#show(), EVERY_MS[this.#isTerminal ? 'terminal' : 'log'])
    }, FIRST_AFTER_MS)
  }

  /** @param what is being done, such as `records read` */
  at(what: string, done?: number, total?: number): void {
    this.#what = what
    this.#done = done
    this.#total = total
  }

  #show(): void {
    const of = this.#total === undefined ? '' : ` of ${grouped(this.#total)}`
    const count = this.#done === undefined ? '' : `${grouped(this.#done)}${of} `
    const text = `${this.#title}: ${count}${this.#what}`
    if (!this.#isTerminal) {
      print(`pslock: ${text}\n`)
      return
    }
    const columns = process.stderr.columns || 80
    const fitting = cut(text, columns - 1)
    // This honours NO_COLOR.
    print(
      CLEAR_LINE + fitting.replace(/^\w+/, (verb) => styleText('yellow', verb, { stream: process.stderr })),
    )
    this.#isDrawn = true
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#first)
    clearInterval(this.#timer)
    if (this.#isDrawn) print(CLEAR_LINE)
  }
}

function grouped(count: number): string {
  return count.toLocaleString('en-US')
}
