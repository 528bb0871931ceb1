/** A record as it is kept: what identifies it, how often it was changed, and its fields. */
export interface StoredRecord {
  readonly _id: string
  /** 1 when it is inserted, and one more after each update. */
  readonly _version: number
  readonly [field: string]: unknown
}

/**
 * How a store keeps the records of tables: declared by its adapter, called inside a transaction (or, to read, a view),
 * whose `tx` is the store that is passed. The table itself, its checks and its schema are the core's.
 */
export interface TableRows<S> {
  /**
   * The records of a table; undefined where the store knows nothing of such a table. They are copied by the caller.
   * @param id only the record of this id is wanted: more may be returned, it may be found faster
   */
  read(tx: S, table: string, id?: string): unknown
  /** Adds records; without any, makes the table visible where the store can show an empty one. */
  insert(tx: S, table: string, records: readonly StoredRecord[]): unknown
  /** Puts these in the place of those with the same ids. */
  replace(tx: S, table: string, records: readonly StoredRecord[]): unknown
  remove(tx: S, table: string, ids: readonly string[]): unknown
  /** Removes the table with all its records. */
  drop(tx: S, table: string): unknown
  /** Rewrites the file without what is no longer needed, where there can be such. */
  compact?(tx: S): unknown
}
