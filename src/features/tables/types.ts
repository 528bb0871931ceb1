/** The types of fields: what JSON can keep, so that every store returns what it was given. */
export type FieldType = 'string' | 'number' | 'boolean' | 'object' | 'array'

type TypeOf<V> = unknown extends V
  ? FieldType
  : V extends string
    ? 'string'
    : V extends number
      ? 'number'
      : V extends boolean
        ? 'boolean'
        : V extends readonly unknown[]
          ? 'array'
          : 'object'

/** The declaration of one field; `nullable` where its TypeScript type has `null`. */
export type Field<V> = {
  readonly type: TypeOf<NonNullable<V>>
  /** The value for records that are inserted without this field. @default none: leaving the field out is an error */
  readonly default?: V
} & (unknown extends V
  ? { readonly nullable?: boolean }
  : null extends V
    ? { readonly nullable: true }
    : { readonly nullable?: false })

/** The fields of a table: each is its type, or a declaration with more to it. */
export type Fields<R> = {
  readonly [K in keyof R]-?: Field<R[K]> | (null extends R[K] ? never : TypeOf<R[K]>)
}

/** A record as `select` returns it. */
export type Stored<R> = R & {
  /** Unique; made by the table. */
  readonly _id: string
  /** 1 when inserted, and one more after each update. The option `version` is compared with it. */
  readonly _version: number
}

/** A record to be inserted: the fields D, which have a default, may be left out. */
export type NewRecord<R, D extends keyof R = never> = Omit<R, D> & Partial<Pick<R, D>>

/** Which records: those with these values (objects and arrays by content), or those for which the function returns true. */
export type Criteria<R> = Partial<Stored<R>> | ((record: Stored<R>) => boolean)

export interface CreateOptions {
  /**
   * What to do if the table exists. `open`: open it, if it has these fields with these types (it may have more). Records
   * that the store has under this name without a schema are taken over. `override`: remove it with all its records first.
   * @default an existing table is a SchemaError
   */
  readonly mode?: 'open' | 'override' | undefined
}

export interface VersionOptions {
  /**
   * Change only if there is such a record, and every one still has this `_version`; otherwise it is a ConflictError.
   * @default undefined: any version
   */
  readonly version?: number | undefined
}

/**
 * A table of records that all have the same fields, in any store, for any number of processes. The records are in the
 * file of the store, the fields in `<file>.schema` beside it. Both change under the lock of the store.
 *
 * Every method except `close` rejects with ClosedError after `close()`, and with the errors of `transaction`. Every method
 * except `close` and `create` rejects with SchemaError if the table does not exist. Inside a transaction of the store,
 * `insert`, `update`, `delete` and `select` belong to it. The others cannot be undone with it and are a TransactionError.
 *
 * @typeParam R the fields; `_id` and `_version` are added
 * @typeParam D those of them that have a default
 */
export interface Table<R extends object, D extends keyof R = never> {
  readonly name: string
  /** Makes the table. @throws SchemaError if it exists and `mode` is not given */
  create(fields: Fields<R>, options?: CreateOptions): Promise<this>
  /**
   * Makes sure that the table exists and that its records agree with the schema. A field that a record lacks (an older file
   * was put back) gets its default.
   * @throws SchemaError if the table does not exist, or a record cannot be made to agree
   */
  open(): Promise<this>
  /** Waits for the calls that were issued. Later calls reject until `open` or `create`. The store stays open. */
  close(): Promise<void>
  /** Removes the table, its records and its schema. */
  destroy(): Promise<void>
  /** Sets the default for records that are inserted from now on. Existing records stay as they are. */
  setDefault<K extends keyof R & string>(field: K, value: R[K]): Promise<void>
  /** Adds one record. @throws SchemaError for an unknown field, a wrong type, or a missing field without default */
  insert(record: NewRecord<R, D>): Promise<Stored<R>>
  /** Adds records, all or none. */
  insert(records: readonly NewRecord<R, D>[]): Promise<Stored<R>[]>
  /**
   * Changes the named fields and no others. If `criteria` is a function, it runs under the lock.
   * @returns the records after the change
   * @throws SchemaError, ConflictError with `version`
   */
  update(criteria: Criteria<R>, changes: Partial<R>, options?: VersionOptions): Promise<Stored<R>[]>
  /** Removes records. @returns how many were removed @throws SchemaError, ConflictError with `version` */
  delete(criteria: Criteria<R>, options?: VersionOptions): Promise<number>
  /** Makes the file small and removes temporary files of crashes. What was kept aside (torn, unreadable) stays. */
  cleanup(): Promise<void>
  /** Once it resolves, everything acknowledged so far, by any process, survives power loss. */
  commit(): Promise<void>
  /** Adds a field, and its default to every record, in one step. @throws SchemaError if the field exists */
  addField<K extends keyof R & string>(
    field: K,
    declaration: Field<R[K]> & { readonly default: R[K] },
  ): Promise<void>
  /** Removes a field from the table and from every record, in one step. @throws SchemaError if it does not exist */
  dropField(field: string): Promise<void>
  /** Copies of the records of one state, in no particular order. Without `criteria`: all records. */
  select(criteria?: Criteria<R>): Promise<Stored<R>[]>
}
