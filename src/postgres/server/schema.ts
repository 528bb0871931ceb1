/** The class of the advisory locks of pslock, whose second number is that of a store or a lock: the letters `pslk`. */
export const STORE_LOCKS: number = 0x70736c6b
export const NAMED_LOCKS: number = 0x70736c6c

/** What goes through all rows of a store takes its time. */
export const LONG_MS = 600_000

/** Processes that are at work have heard of those before. */
const KEPT_REMOVALS = 1000

/**
 * Makes everything that was committed before it survive a crash: its own commit waits for the disk. It answers in which incarnation
 * of the server that was.
 */
export const FLUSH: { readonly name: string; readonly text: string } = {
  name: 'pslock.flush',
  text: `select (select id from pslock.incarnation)::text, set_config('synchronous_commit', 'on', true),
    pg_logical_emit_message(true, 'pslock', '')`,
}

/**
 * Whether all that a statement sees survives the end of the server. Where a standby must have it, too, only who has flushed it knows.
 */
export const IS_DURABLE: string = `(pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()
    and current_setting('synchronous_standby_names') = '')`

/** A client's number, under which its writing session has an advisory lock of its own; of 60 bits, as no other program has by chance. */
export const isOfClient = (client: string): string =>
  `objsubid = 1 and (classid::bigint << 32 | objid::bigint) = ${client}`

/**
 * Has the server end what it does for a connection that is lost, and which has, or waits for, such an advisory lock. As the user that has
 * connected, who may do that; the role that was set then may not.
 */
export const terminate = (whose: string): string => `set local role none;
  select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid() and ${whose}
    and database = (select oid from pg_database where datname = current_database())`

/**
 * The tables of pslock in a database, and the functions that change them. All of a store's records are rows of `doc`, each with
 * the number of the transaction that wrote it last. A process remembers the snapshot of the server in which it has looked; what
 * is new since then are the rows of transactions that were not over in it. A record that is removed stays as a row without
 * content (`gone`) until everybody can be expected to know.
 *
 * A line is text and not `jsonb`, which refuses \u0000 and lone surrogates, sorts the members and writes numbers anew.
 */
const TABLES = `
create schema if not exists pslock;
create table if not exists pslock.store (
  id int generated always as identity primary key,
  name text unique not null,
  kind text not null,
  seq bigint not null default 0,
  fence bigint not null default 0,
  floor bigint not null default 0
) with (fillfactor = 10);
comment on column pslock.store.seq is 'of a text: the number of its last commit';
comment on column pslock.store.fence is 'how often an index was changed, or everything replaced: who knows another number looks first';
comment on column pslock.store.floor is 'removed records (by transaction) and units (by commit) up to here are purged: who knows less reads everything';
create table if not exists pslock.doc (
  store int not null,
  key text collate "C" not null,
  seq bigint not null,
  gone boolean not null default false,
  line text not null,
  -- Not (store, key): of two indexes that begin alike the server takes the wrong one for what is new, and reads all records.
  primary key (key, store)
);
comment on column pslock.doc.seq is 'the transaction that wrote it; of what is beside a text: the commit';
create index if not exists doc_seq on pslock.doc (store, seq);
create table if not exists pslock.unit (store int, seq bigint, changes text not null, primary key (store, seq));
create table if not exists pslock.image (store int primary key, seq bigint not null, text text not null);
comment on table pslock.unit is 'what was changed of a text, by commit; each is JSON';
comment on table pslock.image is 'a text as it was after the commit of this number';
create table if not exists pslock.client (
  id bigint primary key,
  number bigint not null,
  at timestamptz not null default now()
) with (fillfactor = 10);
create unlogged table if not exists pslock.incarnation (one boolean primary key default true check (one), id uuid not null);
create unlogged table if not exists pslock.pace (store int primary key, next float8 not null default 0) with (fillfactor = 10);
create table if not exists pslock.lock (id int generated always as identity primary key, name text unique not null);
create sequence if not exists pslock.token;
create table if not exists pslock.version (one boolean primary key default true check (one), number int not null);
insert into pslock.version (number) values (1) on conflict do nothing;`

/** What a commit leaves of its client: its number, by which is known after a lost connection that it is in. */
const MARK = `
  update pslock.client set number = p_number, at = now() where id = p_client;
  if not found then
    insert into pslock.client (id, number) values (p_client, p_number);
  end if;`

/**
 * One commit of a store of records, in one round trip. Volatile and in PL/pgSQL, so that each of its statements sees what was
 * committed before the lock was granted. Such commits share the lock, and meet at the rows that they change; whoever is in a
 * transaction of its own has it alone (\`p_reads\` null).
 *
 * What was read is compared by its transactions (\`p_versions\`, 0: there is none). It begins with what is written, in the same order.
 *
 * What it answers: 0 done; 1 a record that was read has changed, which can also be the error 40001; 2 the caller must look first:
 * an index has changed, everything was replaced, or the server has lost its last commits in a crash; 3 there is no such store.
 * In a transaction of its own 2 and 3 are the errors PK002 and PK003.
 */
const PUT = `
create or replace function pslock.put(
  p_store int, p_incarnation uuid, p_fence bigint, p_reads text[], p_versions bigint[],
  p_keys text[], p_gone boolean[], p_lines text[], p_fences boolean,
  p_client bigint, p_number bigint, out o_status int, out o_seq bigint
) language plpgsql volatile as $put$
#variable_conflict use_column
declare
  v_writes int := cardinality(p_keys);
  v_fence bigint;
  v_is_same boolean;
  v_count int;
begin
  if p_reads is not null then
    perform pg_advisory_xact_lock_shared(${STORE_LOCKS}, p_store);
  end if;
  select s.fence, i.id = p_incarnation into v_fence, v_is_same
    from pslock.store s left join pslock.incarnation i on true where s.id = p_store;
  if v_fence is null then
    o_status := 3;
  elsif v_is_same is not true or p_reads is not null and p_fence <> v_fence then
    o_status := 2;
  end if;
  if o_status > 0 and p_reads is null then
    -- What was done before in the same transaction must not be committed.
    raise exception 'the store is gone, or the server has restarted' using errcode = 'PK00' || o_status;
  elsif o_status > 0 then
    return;
  end if;
  o_status := 1;
  if cardinality(p_reads) = 1 and v_writes = 1 then
    o_seq := pg_current_xact_id()::text::bigint;
    if p_versions[1] = 0 then
      insert into pslock.doc (store, key, seq, gone, line) values (p_store, p_keys[1], o_seq, p_gone[1], p_lines[1])
        on conflict (store, key) do update set seq = excluded.seq, gone = excluded.gone, line = excluded.line where doc.gone;
    else
      update pslock.doc set seq = o_seq, gone = p_gone[1], line = p_lines[1]
        where store = p_store and key = p_keys[1] and seq = p_versions[1] and not gone;
    end if;
    if not found then
      return;
    end if;
  else
    if exists (
      select from unnest(p_reads, p_versions) r(key, version)
        left join pslock.doc d on d.store = p_store and d.key = r.key and not d.gone
        where coalesce(d.seq, 0) <> r.version
    ) then
      return;
    end if;
    if v_writes > 0 then
      o_seq := pg_current_xact_id()::text::bigint;
      insert into pslock.doc (store, key, seq, gone, line)
        select p_store, u.key, coalesce(nullif(u.version, 0), o_seq), u.gone, u.line
          from unnest(p_keys, p_gone, p_lines, p_versions[1 : v_writes]) u(key, gone, line, version) order by u.key
        on conflict (store, key) do update set seq = o_seq, gone = excluded.gone, line = excluded.line
          where p_reads is null or doc.seq = excluded.seq or doc.gone and excluded.seq = o_seq;
      get diagnostics v_count = row_count;
      if v_count < v_writes then
        raise serialization_failure using message = 'a record has changed';
      end if;
    end if;
  end if;
  o_status := 0;
  -- Under the lock it is sent only where something is changed, if by others than these writes.
  if v_writes = 0 and p_reads is not null then
    return;
  end if;
  if p_fences then
    update pslock.store set fence = fence + 1 where id = p_store;
  end if;
  ${MARK}
end $put$;`

/**
 * `clear` empties a store, but for what is kept beside its records: whoever knew it reads everything anew. `purge` forgets
 * which records were removed, but for the last ones: whoever has not heard of them reads everything anew. Both in a transaction
 * that has the lock alone.
 */
const REPLACE = `
create or replace function pslock.clear(p_store int) returns void language sql volatile as $clear$
  delete from pslock.doc where store = p_store and not starts_with(key, '$$note ');
  update pslock.store set fence = fence + 1, floor = pg_current_xact_id()::text::bigint where id = p_store;
$clear$;
create or replace function pslock.purge(p_store int) returns void language plpgsql volatile as $purge$
declare
  v_floor bigint;
begin
  select seq into v_floor from pslock.doc where store = p_store and gone order by seq desc offset ${KEPT_REMOVALS} limit 1;
  if v_floor is null then
    return;
  end if;
  update pslock.store set floor = greatest(floor, v_floor - 1) where id = p_store;
  delete from pslock.doc where store = p_store and gone and seq < v_floor;
end $purge$;`

/**
 * One commit of a store that is one text, in a transaction that holds the lock: a change (\`p_changes\`), or the text as a whole
 * (\`p_image\`), or both, or (without \`p_advances\`) the text with all changes so far; and what is kept beside it (\`p_notes\`). Whoever knows the text before at least learns
 * the rest from the units, so those since that one are kept.
 *
 * What it answers is as with \`put\`: 0 done; 2 anything has changed; 3 there is no such store.
 */
const PUT_TEXT = `
create or replace function pslock.put_text(
  p_store int, p_incarnation uuid, p_known bigint, p_changes text, p_image text, p_advances boolean,
  p_note_keys text[], p_notes text[], p_client bigint, p_number bigint, out o_status int, out o_seq bigint
) language plpgsql volatile as $put_text$
#variable_conflict use_column
declare
  v_floor bigint;
begin
  select seq into o_seq from pslock.store where id = p_store;
  if o_seq is null then
    o_status := 3;
    return;
  end if;
  if o_seq <> p_known or not exists (select from pslock.incarnation where id = p_incarnation) then
    o_status := 2;
    return;
  end if;
  o_status := 0;
  if p_advances then
    o_seq := o_seq + 1;
  end if;
  if p_changes is not null then
    insert into pslock.unit (store, seq, changes) values (p_store, o_seq, p_changes);
  end if;
  if p_image is not null then
    if p_advances and p_changes is null then
      v_floor := o_seq;
    else
      select seq into v_floor from pslock.image where store = p_store;
    end if;
    delete from pslock.unit where store = p_store and seq <= v_floor;
    insert into pslock.image (store, seq, text) values (p_store, o_seq, p_image)
      on conflict (store) do update set seq = excluded.seq, text = excluded.text;
  end if;
  if cardinality(p_note_keys) > 0 then
    insert into pslock.doc (store, key, seq, line)
      select p_store, u.key, o_seq, u.line from unnest(p_note_keys, p_notes) u(key, line)
      on conflict (store, key) do update set seq = excluded.seq, line = excluded.line;
  end if;
  update pslock.store set seq = o_seq, floor = coalesce(v_floor, floor) where id = p_store;
  ${MARK}
end $put_text$;`

/** The number of the first transaction that a statement can see nothing of. */
const NEXT = 'pg_snapshot_xmax(pg_current_snapshot())::text::bigint'

/**
 * The store of a name, made where there is none.
 */
const OPEN = `
create or replace function pslock.open(p_name text, p_kind text, out o_id int, out o_kind text)
language plpgsql volatile as $open$
begin
  select id, kind into o_id, o_kind from pslock.store where name = p_name;
  if o_id is null then
    insert into pslock.store (name, kind) values (p_name, p_kind) on conflict do nothing;
    select id, kind into o_id, o_kind from pslock.store where name = p_name;
  end if;
  delete from pslock.client where at < now() - interval '7 days';
  -- What comes from another server, whose transactions have higher numbers, gets new ones with the incarnation. By the snapshot of the
  -- statement itself: a later statement sees what was written since.
  if o_kind = 'log' and (
    exists (select from pslock.doc where store = o_id and seq >= ${NEXT})
    or exists (select from pslock.store where id = o_id and floor >= ${NEXT})
  ) then
    delete from pslock.incarnation;
  end if;
end $open$;
create or replace function pslock.turn(
  p_store int, p_every float8, p_ahead float8, p_limit float8
) returns float8 language plpgsql volatile as $turn$
declare
  v_next float8;
  v_now float8;
  v_wait float8;
begin
  insert into pslock.pace (store) values (p_store) on conflict do nothing;
  select next into v_next from pslock.pace where store = p_store for update;
  v_now := extract(epoch from clock_timestamp()) * 1000;
  v_next := greatest(v_next, v_now);
  v_wait := greatest(0, v_next - p_ahead - v_now);
  if v_wait <= p_limit then
    update pslock.pace set next = v_next + p_every where store = p_store;
  end if;
  return v_wait;
end $turn$;
create or replace function pslock.incarnate() returns uuid language plpgsql volatile as $incarnate$
begin
  insert into pslock.incarnation (id) values (gen_random_uuid()) on conflict do nothing;
  if found then
    -- What a dump has brought from another server, whose transactions have higher numbers.
    update pslock.store set floor = 0 where kind = 'log' and floor >= ${NEXT};
    update pslock.doc d set seq = pg_current_xact_id()::text::bigint from pslock.store s
      where s.kind = 'log' and d.store = s.id and d.seq >= ${NEXT};
  end if;
  return (select id from pslock.incarnation);
end $incarnate$;`

/** Makes it all, as one query, and so one transaction. Several processes may come with it at the same time. */
export const SCHEMA: string = `
do $pslock$
begin
  perform pg_advisory_xact_lock(${STORE_LOCKS}, 0);
  if to_regclass('pslock.version') is not null then
    return;
  end if;
  ${TABLES}
  ${[PUT, PUT_TEXT, REPLACE, OPEN].map((text) => `execute $outer$${text}$outer$;`).join('\n')}
end $pslock$`
