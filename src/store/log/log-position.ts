import type { PathStat } from '../../os/file-stat.ts'

/** How many of the last known bytes are compared to notice a file that was rewritten in place. */
export const REMEMBERED_BYTES: number = 32

const NOTHING = Buffer.alloc(0)

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
  /** The last known bytes, at the end of it. */
  readonly #last = Buffer.alloc(REMEMBERED_BYTES)
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
    const from = REMEMBERED_BYTES - length
    if (bytes.length < length || this.#last.compare(bytes, 0, length, from) !== 0) return undefined
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
    // Those before move up.
    if (length < REMEMBERED_BYTES) this.#last.copy(this.#last, 0, length)
    bytes.copy(this.#last, Math.max(0, REMEMBERED_BYTES - length), Math.max(0, length - REMEMBERED_BYTES))
    this.#remembered = Math.min(REMEMBERED_BYTES, this.#remembered + length)
  }

  /** These bytes behind what is in memory are in memory now: what was passed over, and what follows it. */
  caughtUp(bytes: Buffer): void {
    const passedOver = Math.min(REMEMBERED_BYTES, this.#end - this.#applied)
    this.#last.copy(this.#last, passedOver, 0, REMEMBERED_BYTES - passedOver)
    this.#remembered = Math.max(0, this.#remembered - passedOver)
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
