/** What a field can hold: what JSON can, so that every store gives back what it was given. */
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
  /** What a record gets that is inserted without this field. @default none: leaving it out is an error */
  readonly default?: V
} & (unknown extends V
  ? { readonly nullable?: boolean }
  : null extends V
    ? { readonly nullable: true }
    : { readonly nullable?: false })

/** The fields of a table, each by its type alone or with more to it. */
export type Fields<R> = {
  readonly [K in keyof R]-?: Field<R[K]> | (null extends R[K] ? never : TypeOf<R[K]>)
}

/** A record as `select` gives it. */
export type Stored<R> = R & {
  /** Given by the table, unique. */
  readonly _id: string
  /** 1 when inserted, and one more after each update: what the `version` option is compared with. */
  readonly _version: number
}

/** A record to be inserted: the fields D, which have a default, may be left out. */
export type NewRecord<R, D extends keyof R = never> = Omit<R, D> & Partial<Pick<R, D>>

/** Which records: those with these values (objects and arrays by content), or those for which the function is true. */
export type Criteria<R> = Partial<Stored<R>> | ((record: Stored<R>) => boolean)

export interface CreateOptions {
  /**
   * What to do if the table exists. `open`: open it, if it has these fields, of these types (it may have more); records
   * that the store has under this name without a schema are taken over. `override`: remove it with all its records first.
   * @default an existing table is a SchemaError
   */
  readonly mode?: 'open' | 'override' | undefined
}

export interface VersionOptions {
  /**
   * Only if every record concerned still has this `_version`, and there is one.
   * @default whatever the version
   */
  readonly version?: number | undefined
}

/**
 * A table of records that all have the same fields, in any store, for any number of processes. The store's file keeps
 * the records, `<file>.schema` beside it the fields; both change under the store's lock.
 *
 * Every method but `close` rejects with SchemaError where the table does not exist (but `create`), ClosedError after
 * `close()`, and what `transaction` rejects with. Inside a transaction of the store `insert`, `update`, `delete` and
 * `select` are part of it; the others, which cannot be undone with it, are a TransactionError there.
 *
 * @typeParam R the fields; `_id` and `_version` are added
 * @typeParam D those of them that have a default
 */
export interface Table<R extends object, D extends keyof R = never> {
  readonly name: string
  /** Makes the table. @throws SchemaError if it exists and no `mode` says otherwise */
  create(fields: Fields<R>, options?: CreateOptions): Promise<this>
  /**
   * Makes sure that the table exists, and that its records are as the schema says: a field that one lacks (an older
   * file was put back) gets its default.
   * @throws SchemaError if there is none, or a record cannot be made right
   */
  open(): Promise<this>
  /** Waits for what was issued here; later calls reject until `open` or `create`. The store stays open. */
  close(): Promise<void>
  /** Removes the table, its records and its schema. */
  destroy(): Promise<void>
  /** What records get from now on that are inserted without this field; those that exist stay as they are. */
  setDefault<K extends keyof R & string>(field: K, value: R[K]): Promise<void>
  /** Adds one record. @throws SchemaError for an unknown field, a wrong type, or a missing field without default */
  insert(record: NewRecord<R, D>): Promise<Stored<R>>
  /** Adds records, all or none. */
  insert(records: readonly NewRecord<R, D>[]): Promise<Stored<R>[]>
  /**
   * Changes the fields that are named, and no others. A function as criteria runs under the lock.
   * @returns the records as they are now
   * @throws SchemaError, ConflictError with `version`
   */
  update(criteria: Criteria<R>, changes: Partial<R>, options?: VersionOptions): Promise<Stored<R>[]>
  /** @returns how many were removed @throws SchemaError, ConflictError with `version` */
  delete(criteria: Criteria<R>, options?: VersionOptions): Promise<number>
  /** Makes the file small and removes temporary files that a crash left behind. Torn or unreadable parts stay aside. */
  cleanup(): Promise<void>
  /** Everything acknowledged so far, by any process, survives power loss once this resolves. */
  commit(): Promise<void>
  /** Adds a field; every record gets the default, in the same step. @throws SchemaError if it exists */
  addField<K extends keyof R & string>(
    field: K,
    declaration: Field<R[K]> & { readonly default: R[K] },
  ): Promise<void>
  /** Removes a field from the table and from every record, in one step. @throws SchemaError if there is none */
  dropField(field: string): Promise<void>
  /** Copies of the records, of one state, in no particular order; all without `criteria`. */
  select(criteria?: Criteria<R>): Promise<Stored<R>[]>
}
