import type { PathStat } from '../../os/file-stat.ts'

/** How many of the last known bytes are compared to notice a file that was rewritten in place. */
export const REMEMBERED_BYTES: number = 32

const NOTHING: Buffer = Buffer.alloc(0)

/** A larger buffer is not kept for the sake of its end. */
const SMALL_BYTES = 16 * 1024

/**
 * A time of change that was as old as this when we looked tells of every later change. Kernels before 6.13 count file
 * times in steps of up to 10 ms: a change right after the look could have the same one ("racy git" is the classic).
 */
const QUIET_MS = 20

/** Whether a time of change tells of every change from now on. */
function isQuiet(changedUs: number): boolean {
  return changedUs / 1000 + QUIET_MS < Date.now()
}

/** What is known here of a log: which version of the file, how far it was applied, how it ends. */
export class LogPosition {
  /** The generation of the data file that this is about; -1: nothing is known. */
  #generation = -1
  #applied = 0
  #end = 0
  /** The last known bytes: so many, from a place in a buffer on. They are not copied where that buffer is small. */
  #last = NOTHING
  #lastFrom = 0
  #remembered = 0
  #synced = 0
  #isNameSynced = false
  /** The time of change at the last look; undefined after a change of our own, and where that was not asked for. */
  #changedUs: number | undefined
  /** The same, where it was old enough then to tell of every later change. */
  #quietUs: number | undefined
  #isJustChanged = false

  /** Where that begins which is not in memory yet. */
  get applied(): number {
    return this.#applied
  }

  /** Where what is known ends. What lies between `applied` and here was passed over: it is read when somebody needs it. */
  get end(): number {
    return this.#end
  }

  /** Whether everything up to the end, and the name of the file, is known to be on the disk. */
  get isSynced(): boolean {
    return this.#synced >= this.#end && this.#isNameSynced
  }

  get isNameSynced(): boolean {
    return this.#isNameSynced
  }

  /** Where to begin to read: the last known bytes are compared. */
  get compareFrom(): number {
    return this.#end - this.#remembered
  }

  isOf(generation: number): boolean {
    return this.#generation === generation
  }

  forget(): void {
    this.#generation = -1
  }

  /**
   * Whether a look must tell the time of change. Right after a change of our own there is nothing to compare it with, and
   * who changes all the time need not ask at all.
   */
  get needsTime(): boolean {
    return !this.#isJustChanged
  }

  /** Whether there is no byte more or fewer, and yet it was changed since we looked: somebody edited it in place. */
  isEdited({ size, changedUs }: PathStat): boolean {
    return size === this.#end && (this.#changedUs ?? changedUs) !== changedUs
  }

  /** Whether nothing can have changed, so that there is nothing to compare. */
  isUntouched({ size, changedUs }: PathStat): boolean {
    return size === this.#end && changedUs !== undefined && changedUs === this.#quietUs
  }

  looked({ changedUs }: PathStat): void {
    this.#changedUs = changedUs
    this.#isJustChanged = false
    this.#quietUs = changedUs !== undefined && isQuiet(changedUs) ? changedUs : undefined
  }

  /** A change of our own is no edit of others. */
  changing(): void {
    this.#isJustChanged = true
    this.#changedUs = undefined
    this.#quietUs = undefined
  }

  /** What follows the last known bytes; undefined where those are not what they were. */
  behind(bytes: Buffer): Buffer | undefined {
    const length = this.#remembered
    const [last, from] = [this.#last, this.#lastFrom]
    if (bytes.length < length) return undefined
    for (let at = 0; at < length; at++) if (bytes[at] !== last[from + at]) return undefined
    return bytes.length === length ? NOTHING : bytes.subarray(length)
  }

  /** All of the file, from its beginning. */
  replaced(generation: number, bytes: Buffer): void {
    this.#takeOver(generation)
    this.#applied = 0
    this.#remembered = 0
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
    const { length } = bytes
    this.#end += length
    if (length < REMEMBERED_BYTES) this.#remember(Buffer.concat([this.#lastBytes, bytes]))
    else this.#remember(length > SMALL_BYTES ? Buffer.from(bytes.subarray(-REMEMBERED_BYTES)) : bytes)
  }

  /** These bytes behind what is in memory are in memory now: what was passed over, and what follows it. */
  caughtUp(bytes: Buffer): void {
    this.#remembered = Math.max(0, this.#remembered - (this.#end - this.#applied))
    this.#end = this.#applied
    this.added(bytes)
  }

  /** Everything up to `end` is in memory. @param last the bytes before it, as many as are remembered */
  read(generation: number, end: number, last: Buffer): void {
    this.#takeOver(generation)
    this.#applied = end - last.length
    this.#end = this.#applied
    this.#remembered = 0
    this.added(last)
  }

  get #lastBytes(): Buffer {
    return this.#last.subarray(this.#lastFrom, this.#lastFrom + this.#remembered)
  }

  /** @param bytes that end at the end of what is known */
  #remember(bytes: Buffer): void {
    this.#remembered = Math.min(REMEMBERED_BYTES, bytes.length)
    this.#last = bytes
    this.#lastFrom = bytes.length - this.#remembered
  }

  /** What was synced of another file says nothing of this one. */
  #takeOver(generation: number): void {
    if (this.#generation !== generation) {
      this.#synced = 0
      this.#isNameSynced = false
    }
    this.#generation = generation
  }

  /** So much is on the disk, and the name of the file. */
  synced(upTo: number): void {
    this.#synced = Math.max(this.#synced, upTo)
    this.#isNameSynced = true
  }
}
