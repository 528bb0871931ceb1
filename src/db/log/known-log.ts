import type { Named } from '../../os/named-file.ts'

/** How many of the last known bytes are compared to notice a file that was rewritten in place. */
const REMEMBERED_BYTES = 32

/**
 * A time of change that was as old as this when we looked tells of every later change. Kernels before 6.13 count file
 * times in steps of up to 10 ms: a change right after the look could have the same one ("racy git" is the classic).
 */
const QUIET_MS = 20

/** What is known here of a log: which version of the file, how far it was applied, how it ends. */
export class KnownLog {
  /** The generation of the data file that this is about; -1: nothing is known. */
  #generation = -1
  #applied = 0
  #end = 0
  #last: Buffer = Buffer.alloc(0)
  #synced = 0
  /** The time of change at the last look; undefined after a change of our own. */
  #changedUs: number | undefined
  /** The same, where it was old enough then to tell of every later change. */
  #quietUs: number | undefined

  /** Where that begins which is not in memory yet. */
  get applied(): number {
    return this.#applied
  }

  /** Where what is known ends. What lies between `applied` and here was passed over: it is read when somebody needs it. */
  get end(): number {
    return this.#end
  }

  /** Whether everything up to the end is known to be on the disk. */
  get isSynced(): boolean {
    return this.#synced >= this.#end
  }

  /** Where to begin to read: the last known bytes are compared. */
  get compareFrom(): number {
    return this.#end - this.#last.length
  }

  isOf(generation: number): boolean {
    return this.#generation === generation
  }

  forget(): void {
    this.#generation = -1
  }

  /** Whether there is no byte more or fewer, and yet it was changed since we looked: somebody edited it in place. */
  isEdited({ size, changedUs }: Named): boolean {
    return size === this.#end && (this.#changedUs ?? changedUs) !== changedUs
  }

  /** Whether nothing can have changed, so that there is nothing to compare. */
  isUntouched({ size, changedUs }: Named): boolean {
    return size === this.#end && changedUs === this.#quietUs
  }

  looked({ changedUs }: Named): void {
    this.#changedUs = changedUs
    this.#quietUs = changedUs / 1000 + QUIET_MS < Date.now() ? changedUs : undefined
  }

  /** A change of our own is no edit of others. */
  changing(): void {
    this.#changedUs = undefined
    this.#quietUs = undefined
  }

  /** What follows the last known bytes; undefined where those are not what they were. */
  behind(bytes: Buffer): Buffer | undefined {
    const { length } = this.#last
    if (bytes.length < length || !bytes.subarray(0, length).equals(this.#last)) return undefined
    return bytes.subarray(length)
  }

  /** All of the file, from its beginning. */
  replaced(generation: number, bytes: Buffer): void {
    if (this.#generation !== generation) this.#synced = 0
    this.#generation = generation
    this.#applied = 0
    this.#last = Buffer.alloc(0)
    this.#end = 0
    this.added(bytes)
  }

  /** These bytes behind the end are in memory too, unless what is before them was passed over. */
  added(bytes: Buffer): void {
    if (this.#applied === this.#end) this.#applied += bytes.length
    this.passedOver(bytes)
  }

  /** These bytes behind the end are not in memory. */
  passedOver(bytes: Buffer): void {
    this.#end += bytes.length
    const last = bytes.length >= REMEMBERED_BYTES ? bytes : Buffer.concat([this.#last, bytes])
    // A copy, or it would keep all of the bytes alive.
    this.#last = Buffer.from(last.subarray(Math.max(0, last.length - REMEMBERED_BYTES)))
  }

  /** These bytes behind what is in memory are in memory now: what was passed over, and what follows it. */
  caughtUp(bytes: Buffer): void {
    this.#last = this.#last.subarray(0, Math.max(0, this.#last.length - (this.#end - this.#applied)))
    this.#end = this.#applied
    this.added(bytes)
  }

  synced(upTo: number): void {
    this.#synced = Math.max(this.#synced, upTo)
  }
}
