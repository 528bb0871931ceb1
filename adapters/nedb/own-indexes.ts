import type { IndexOptions } from './internals.ts'

/** What one store object knows of its indexes beside what the file says. */
export class OwnIndexes {
  /** Created in memory, not in the file yet: catching up drops them, and their task builds them anew. */
  readonly provisional: Set<string> = new Set()
  /** Ensured through this very store, and not removed since. */
  readonly declared: Map<string, IndexOptions> = new Map()
}
