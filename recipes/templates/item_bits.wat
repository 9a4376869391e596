  ;; The whole square root, bit by bit from the highest.
  (func $item (param $number i64) (result i32)
    (local $root i64) (local $bit i64) (local $next i64)
    (local.set $bit (i64.const 2147483648))
    (loop $bits
      (local.set $next (i64.or (local.get $root) (local.get $bit)))
      (if (i64.le_u (i64.mul (local.get $next) (local.get $next)) (local.get $number))
        (then (local.set $root (local.get $next))))
      (local.set $bit (i64.shr_u (local.get $bit) (i64.const 1)))
      (br_if $bits (i64.ne (local.get $bit) (i64.const 0))))
    (i32.wrap_i64 (local.get $root)))
