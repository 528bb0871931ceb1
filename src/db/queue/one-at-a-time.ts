/** Runs what it is given one after the other; what comes while nothing runs begins at once. */
export class OneAtATime {
  #isRunning = false
  readonly #waiting: (() => void)[] = []

  get isRunning(): boolean {
    return this.#isRunning
  }

  async run<T>(run: () => Promise<T>): Promise<T> {
    while (this.#isRunning) await new Promise<void>((go) => this.#waiting.push(go))
    this.#isRunning = true
    try {
      return await run()
    } finally {
      this.#isRunning = false
      this.#waiting.shift()?.()
    }
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.#isRunning) await this.run(async () => {})
  }
}
