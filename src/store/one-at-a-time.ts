/** Runs what it is given one after the other, first come, first served; what comes while nothing runs begins at once. */
export class OneAtATime {
  #isRunning = false
  readonly #waiting: (() => void)[] = []

  get isRunning(): boolean {
    return this.#isRunning
  }

  async run<T>(run: () => Promise<T>): Promise<T> {
    if (this.#isRunning) await new Promise<void>((go) => this.#waiting.push(go))
    this.#isRunning = true
    try {
      return await run()
    } finally {
      const next = this.#waiting.shift()
      // Handed over: what comes in between does not go first.
      if (next) next()
      else this.#isRunning = false
    }
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.#isRunning) await this.run(async () => {})
  }
}
