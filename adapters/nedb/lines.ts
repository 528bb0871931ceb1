import { recordOf } from './record-lines.ts'

/** Lines of a NeDB file as records by their key, for whoever has no NeDB. */

/** What lines of a log leave: of each record the last line. */
export class LastLines {
  readonly #lines = new Map<string, string>()

  add(lines: readonly string[]): void {
    for (const line of lines) {
      const { key, isGone } = recordOf(line)
      if (isGone) this.#lines.delete(key)
      else this.#lines.set(key, line)
    }
  }

  get size(): number {
    return this.#lines.size
  }

  [Symbol.iterator](): Iterator<[key: string, line: string]> {
    return this.#lines.entries()
  }
}

/** Why a row cannot be what a store has written; undefined: it can. What its line says by itself is the matter of `inspectNedbLines`. */
export function objectionToRow(key: string, line: string): string | undefined {
  if (/[\n\r]/.test(line)) return 'there is a line end in it'
  try {
    const record = recordOf(line)
    if (record.isGone) return 'it says that it is removed, and the row does not'
    return record.key === key ? undefined : `its key should be ${JSON.stringify(record.key)}`
  } catch {
    // Told of the line.
    return undefined
  }
}
